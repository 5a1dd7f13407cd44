/* Reset, memory protection and faults of an ARMv7-M core. */
#include <stdint.h>

#include "harness.h"
#include "io.h"
#include "port.h"
#include "print.h"

#define SCB_CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SCB_SHCSR (*(volatile uint32_t *)0xE000ED24u)
#define SCB_CFSR (*(volatile uint32_t *)0xE000ED28u)
#define SCB_HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define SCB_MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define SCB_BFAR (*(volatile uint32_t *)0xE000ED38u)
#define MPU_CTRL (*(volatile uint32_t *)0xE000ED94u)
#define MPU_RBAR (*(volatile uint32_t *)0xE000ED9Cu)
#define MPU_RASR (*(volatile uint32_t *)0xE000EDA0u)

#define CFSR_MEMORY_ADDRESS_VALID (1u << 7)
#define CFSR_BUS_ADDRESS_VALID (1u << 15)
#define CFSR_STACKING_FAILED ((1u << 4) | (1u << 12)) /* MSTKERR, STKERR */

#define RAM_REGIONS 4
#define LOWER_HALF_LOG2_BYTES 31
#define SMALLEST_REGION_WITH_EIGHTHS 256u

extern uint32_t __stack_bottom, __stack_top;
extern uint32_t __data_start, __data_end, __data_load;
extern uint32_t __bss_start, __bss_end;
extern uint8_t __ram_start, __ram_end, __flash_start;
extern uint8_t __flash_log2_bytes; /* an absolute symbol of memory.ld: its address is the value */

void reset_handler(void) __attribute__((noreturn));
void fault_handler(void);
void fault_report(uint32_t exception, const uint32_t *frame) __attribute__((noreturn, used));

static uint32_t region_count;

static void add_region(uint32_t base, uint32_t attributes)
{
    MPU_RBAR = base | (1u << 4) | region_count;
    MPU_RASR = attributes;
    region_count++;
}

static uint32_t log2_ceil(uint32_t value)
{
    uint32_t log2 = 0;
    while ((1u << log2) < value) {
        log2++;
    }
    return log2;
}

/* Opens exactly `bytes` (a multiple of 256) from `base`: regions of a power of two, each cut to the
 * eighths it needs, the next one as large as one eighth and covering the rest. */
static void add_ram_regions(uint32_t base, uint32_t bytes)
{
    uint32_t log2 = log2_ceil(bytes < SMALLEST_REGION_WITH_EIGHTHS ? SMALLEST_REGION_WITH_EIGHTHS : bytes);
    for (int32_t i = 0; i < RAM_REGIONS && bytes > 0u && (1u << log2) >= SMALLEST_REGION_WITH_EIGHTHS; i++) {
        const uint32_t eighth = (1u << log2) >> 3;
        const uint32_t used = bytes / eighth;
        if (used > 0u) {
            add_region(base, REGION_SIZE(log2) | REGION_ONLY_EIGHTHS((1u << used) - 1u) | REGION_READ_WRITE
                                 | REGION_NORMAL | REGION_NO_EXECUTE | REGION_ENABLE);
            base += used * eighth;
            bytes -= used * eighth;
        }
        log2 -= 3u;
    }
}

/* From here on only the code, the RAM budget and the peripherals in use can be accessed. What no region covers
 * faults by itself on the core and on QEMU; Renode lets it pass, so that region 0, which every other one
 * overrules, closes all of it. */
static void protect_memory(void)
{
    region_count = 0;
    add_region(0u, REGION_SIZE(LOWER_HALF_LOG2_BYTES) | REGION_NO_ACCESS | REGION_NO_EXECUTE | REGION_ENABLE);
    add_region((uint32_t)&__flash_start,
               REGION_SIZE((uint32_t)&__flash_log2_bytes) | REGION_READ_ONLY | REGION_NORMAL | REGION_ENABLE);
    add_ram_regions((uint32_t)&__ram_start, (uint32_t)(&__ram_end - &__ram_start));
    for (int32_t i = 0; i < PORT_PERIPHERAL_REGIONS; i++) {
        if (port_peripherals[i].attributes != 0u) {
            add_region(port_peripherals[i].base, port_peripherals[i].attributes);
        }
    }
    if (io_region.attributes != 0u) {
        add_region(io_region.base, io_region.attributes);
    }
    SCB_SHCSR |= (1u << 16) | (1u << 17) | (1u << 18); /* memory, bus and usage faults of their own */
    MPU_CTRL = 1u;                                     /* on, background map off */
    __asm__ volatile("dsb\n isb" ::: "memory");
}

void reset_handler(void)
{
    SCB_CPACR |= 0xFu << 20; /* floating point unit on: the code is built for its registers */
    __asm__ volatile("dsb\n isb" ::: "memory");
    const uint32_t *from = &__data_load;
    for (uint32_t *to = &__data_start; to < &__data_end; to++) {
        *to = *from;
        from++;
    }
    for (uint32_t *to = &__bss_start; to < &__bss_end; to++) {
        *to = 0;
    }
    port_init();
    protect_memory();
    io_exit(harness_main());
}

/* The stack may be what broke: report on a fresh one, with the old pointer in hand. */
__attribute__((naked)) void fault_handler(void)
{
    __asm__ volatile("mrs r0, ipsr\n"
                     "mov r1, sp\n"
                     "ldr r2, 1f\n"
                     "mov sp, r2\n"
                     "b fault_report\n"
                     ".balign 4\n"
                     "1: .word __stack_top\n");
}

void fault_report(uint32_t exception, const uint32_t *frame)
{
    static const char *const names[] = {"",          "Reset",    "NMI",       "HardFault",
                                        "MemManage", "BusFault", "UsageFault"};
    const uint32_t status = SCB_CFSR;
    io_print("\nfault ");
    io_print(exception <= 6u ? names[exception] : "Interrupt");
    if ((status & CFSR_STACKING_FAILED) != 0u) {
        io_print(" stacking_failed 1"); /* the frame, and the program counter in it, is lost */
    } else if (frame >= &__stack_bottom && frame + 7 < &__stack_top) {
        print_hex_field("pc", frame[6]);
        print_hex_field("lr", frame[5]);
    }
    if ((status & CFSR_MEMORY_ADDRESS_VALID) != 0u) {
        print_hex_field("address", SCB_MMFAR);
    } else if ((status & CFSR_BUS_ADDRESS_VALID) != 0u) {
        print_hex_field("address", SCB_BFAR);
    }
    print_hex_field("sp", (uint32_t)frame);
    print_hex_field("cfsr", status);
    print_hex_field("hfsr", SCB_HFSR);
    io_print("\n");
    io_exit(3);
}

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector;

__attribute__((section(".vectors"), used)) const vector vectors[16] = {
    {.stack = &__stack_top},
    {.handler = reset_handler},
    {.handler = fault_handler}, /* NMI */
    {.handler = fault_handler}, /* HardFault */
    {.handler = fault_handler}, /* MemManage */
    {.handler = fault_handler}, /* BusFault */
    {.handler = fault_handler}, /* UsageFault */
    {.stack = 0},
    {.stack = 0},
    {.stack = 0},
    {.stack = 0},
    {.handler = fault_handler}, /* SVCall */
    {.handler = fault_handler}, /* DebugMonitor */
    {.stack = 0},
    {.handler = fault_handler}, /* PendSV */
    {.handler = fault_handler}, /* SysTick */
};
