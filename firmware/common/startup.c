/* Reset and faults of a Cortex-M core. */
#include <stdint.h>

#include "harness.h"
#include "io.h"
#include "mpu.h"
#include "port.h"
#include "print.h"

#define SCB_VTOR (*(volatile uint32_t *)0xE000ED08u)
#define SCB_CPACR (*(volatile uint32_t *)0xE000ED88u)
#define SCB_SHCSR (*(volatile uint32_t *)0xE000ED24u)
#define SCB_CFSR (*(volatile uint32_t *)0xE000ED28u)
#define SCB_HFSR (*(volatile uint32_t *)0xE000ED2Cu)
#define SCB_MMFAR (*(volatile uint32_t *)0xE000ED34u)
#define SCB_BFAR (*(volatile uint32_t *)0xE000ED38u)

#define CFSR_MEMORY_ADDRESS_VALID (1u << 7)
#define CFSR_BUS_ADDRESS_VALID (1u << 15)
#define CFSR_STACKING_FAILED ((1u << 4) | (1u << 12)) /* MSTKERR, STKERR */

extern uint32_t __stack_bottom, __stack_top;
extern uint32_t __data_start, __data_end, __data_load;
extern uint32_t __bss_start, __bss_end;

typedef union {
    uint32_t *stack;
    void (*handler)(void);
} vector;

extern const vector vectors[16];

void reset_handler(void) __attribute__((noreturn));
void fault_handler(void);
void fault_report(uint32_t exception, const uint32_t *frame) __attribute__((noreturn, used));

void reset_handler(void)
{
    SCB_VTOR = (uint32_t)vectors; /* where a bootloader stands before this program, it may have left its own there */
#ifdef __ARM_FP
    SCB_CPACR |= 0xFu << 20; /* floating point unit on: the code is built for its registers */
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
    const uint32_t *from = &__data_load;
    for (uint32_t *to = &__data_start; to < &__data_end; to++) {
        *to = *from;
        from++;
    }
    for (uint32_t *to = &__bss_start; to < &__bss_end; to++) {
        *to = 0;
    }
    port_init();
    SCB_SHCSR |= (1u << 16) | (1u << 17) | (1u << 18); /* memory, bus and usage faults of their own */
    mpu_protect();
    io_exit(harness_main());
}

/* The stack may be what broke: report on a fresh one, with the old pointer in hand. */
__attribute__((naked)) void fault_handler(void)
{
    __asm__ volatile("mrs r0, ipsr\n"
                     "mov r1, sp\n"
                     "ldr r2, 1f\n"
                     "mov sp, r2\n"
                     "ldr r2, 2f\n"
                     "bx r2\n"
                     ".balign 4\n"
                     "1: .word __stack_top\n"
                     "2: .word fault_report\n");
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

#if defined(__SSP__) || defined(__SSP_STRONG__) || defined(__SSP_ALL__)
/* -fstack-protector: what each guarded frame ends with, and what runs where it was overwritten. */
extern const uintptr_t __stack_chk_guard;
void __stack_chk_fail(void) __attribute__((noreturn, used));

const uintptr_t __stack_chk_guard __attribute__((used)) = 0x5AFE57ACu;

void __stack_chk_fail(void)
{
    io_print("\nfault StackProtector\n");
    io_exit(3);
}
#endif

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
