/* The boards of Arm's MPS2 family, as QEMU emulates them: a CMSDK timer and UART at the addresses of board.h. */
#include "board.h"
#include "port.h"

#define TIMER0(offset) (*(volatile uint32_t *)(PORT_TIMER0 + (offset)))
#define TIMER0_CTRL TIMER0(0x0u)
#define TIMER0_VALUE TIMER0(0x4u)
#define TIMER0_RELOAD TIMER0(0x8u)
#define UART0(offset) (*(volatile uint32_t *)(PORT_UART0 + (offset)))
#define UART0_DATA UART0(0x0u)
#define UART0_STATE UART0(0x4u)
#define UART0_CTRL UART0(0x8u)
#define UART0_BAUDDIV UART0(0x10u)

#define UART_TRANSMIT_FULL 1u
#define UART_RECEIVE_FULL 2u
#define TIMER_START 0xFFFFFFFFu

const port_region port_peripherals[PORT_PERIPHERAL_REGIONS] = {
    PORT_PERIPHERALS,
    {0, 0, 0, 0},
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

int32_t port_getc(void)
{
    return (UART0_STATE & UART_RECEIVE_FULL) != 0u ? (int32_t)(UART0_DATA & 0xFFu) : -1;
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
