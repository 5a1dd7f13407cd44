/* QEMU mps2-an386: start-up, semihosting, and the CMSDK timer as instruction counter (-icount shift=0). */
#include "port.h"

#include <string.h>

#define TIMER0_CTRL (*(volatile uint32_t *)0x40000000u)
#define TIMER0_VALUE (*(volatile uint32_t *)0x40000004u)
#define TIMER0_RELOAD (*(volatile uint32_t *)0x40000008u)
#define INSTRUCTIONS_PER_TICK 40u /* one instruction is 1 ns, one tick of 25 MHz is 40 ns */

int main(void);
void reset_handler(void);
void fault_handler(void);
extern uint32_t stack_top;
extern uint8_t heap_start[], heap_end[];

static uint8_t *heap_next;
static int32_t result_file;

static int32_t semihost(int32_t operation, const void *argument)
{
    register int32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void end(int32_t status)
{
    const int32_t exit_block[2] = {0x20026, status}; /* ADP_Stopped_ApplicationExit */
    semihost(0x20, exit_block);                      /* SYS_EXIT_EXTENDED */
    for (;;) {
    }
}

void fault_handler(void)
{
    end(99);
}

void reset_handler(void)
{
    static const char name[] = "result.bin";
    const struct {
        const char *name;
        int32_t mode, length;
    } open_block = {name, 5 /* wb */, sizeof name - 1};
    heap_next = heap_start;
    result_file = semihost(1, &open_block); /* SYS_OPEN */
    TIMER0_RELOAD = 0xffffffffu;
    TIMER0_VALUE = 0xffffffffu;
    TIMER0_CTRL = 1;
    end(main());
}

void *port_alloc(size_t bytes)
{
    uint8_t *block = heap_next;
    heap_next += (bytes + 15u) & ~(size_t)15u;
    if (heap_next > heap_end) {
        end(98);
    }
    return block;
}

void port_release(void)
{
    heap_next = heap_start;
}

void port_write(const void *data, uint32_t bytes)
{
    const struct {
        int32_t file;
        const void *data;
        uint32_t bytes;
    } write_block = {result_file, data, bytes};
    if (semihost(5, &write_block) != 0) { /* SYS_WRITE */
        end(97);
    }
}

uint32_t port_instructions(void)
{
    return (0xffffffffu - TIMER0_VALUE) * INSTRUCTIONS_PER_TICK;
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    &stack_top,    (const void *)reset_handler, (const void *)fault_handler, (const void *)fault_handler,
    (const void *)fault_handler, (const void *)fault_handler, (const void *)fault_handler,
};
