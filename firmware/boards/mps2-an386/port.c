/* Arm MPS2 with the AN386 image (Cortex-M4F), as emulated by QEMU. */
#include "port.h"

#define TIMER0_CTRL (*(volatile uint32_t *)0x40000000u)
#define TIMER0_VALUE (*(volatile uint32_t *)0x40000004u)
#define TIMER0_RELOAD (*(volatile uint32_t *)0x40000008u)
#define UART0_DATA (*(volatile uint32_t *)0x40004000u)
#define UART0_STATE (*(volatile uint32_t *)0x40004004u)
#define UART0_CTRL (*(volatile uint32_t *)0x40004008u)
#define UART0_BAUDDIV (*(volatile uint32_t *)0x40004010u)

#define UART_TRANSMIT_FULL 1u
#define UART_RECEIVE_FULL 2u
#define TIMER_START 0xFFFFFFFFu

/* 0x40000000..0x40007FFF in eighths of 4 KB: TIMER0 is the first, UART0 the fifth. */
const port_region port_peripherals[PORT_PERIPHERAL_REGIONS] = {
    {0x40000000u, REGION_SIZE(15) | REGION_ONLY_EIGHTHS(0x11) | REGION_READ_WRITE | REGION_DEVICE
                      | REGION_NO_EXECUTE | REGION_ENABLE},
    {0, 0},
};

void port_init(void)
{
    UART0_BAUDDIV = 16u;
    UART0_CTRL = 3u; /* transmit and receive */
}

void port_putc(char c)
{
    while ((UART0_STATE & UART_TRANSMIT_FULL) != 0u) {
    }
    UART0_DATA = (uint32_t)(uint8_t)c;
}

uint8_t port_getc(void)
{
    while ((UART0_STATE & UART_RECEIVE_FULL) == 0u) {
    }
    return (uint8_t)UART0_DATA;
}

void port_count_start(void)
{
    TIMER0_CTRL = 0;
    TIMER0_RELOAD = TIMER_START;
    TIMER0_VALUE = TIMER_START;
    TIMER0_CTRL = 1u;
}

uint32_t port_count_ticks(void)
{
    return TIMER_START - TIMER0_VALUE;
}
