/* nRF52840: 64 MHz from its crystal, a console on UART0 with the pins of board.h, cycles from the debug unit.
 * Registers: the chip's product specification. */
#include "board.h"
#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define CLOCK_HFCLKSTART REGISTER(0x40000000u)
#define CLOCK_HFCLKSTARTED REGISTER(0x40000100u)
#define UART_STARTRX REGISTER(0x40002000u)
#define UART_STARTTX REGISTER(0x40002008u)
#define UART_RXDRDY REGISTER(0x40002108u)
#define UART_TXDRDY REGISTER(0x4000211Cu)
#define UART_ENABLE REGISTER(0x40002500u)
#define UART_PSELTXD REGISTER(0x4000250Cu)
#define UART_PSELRXD REGISTER(0x40002514u)
#define UART_RXD REGISTER(0x40002518u)
#define UART_TXD REGISTER(0x4000251Cu)
#define UART_BAUDRATE REGISTER(0x40002524u)
#define GPIO(pin, offset) REGISTER(0x50000000u + 0x300u * ((pin) / 32u) + (offset))
#define GPIO_OUTSET(pin) GPIO(pin, 0x508u)
#define GPIO_DIRSET(pin) GPIO(pin, 0x518u)
#define NVMC_ICACHECNF REGISTER(0x4001E540u)
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)

#define UART_ENABLED 4u
#define UART_CLOCK_HZ 16000000u
/* Baud rate * 2^32 / 16 MHz, of which the chip takes multiples of 2^12. */
#define UART_BAUDRATE_VALUE \
    ((uint32_t)((((uint64_t)PORT_BAUD << 32) / UART_CLOCK_HZ + 0x800u) & 0xFFFFF000u))
#define READY_POLLS 100000

const port_region port_peripherals[PORT_PERIPHERAL_REGIONS] = {
    {0x40002000u, 0x1000u, PORT_DEVICE, 0},
    {0, 0, 0, 0},
};

void port_init(void)
{
    NVMC_ICACHECNF = 1u;
    CLOCK_HFCLKSTART = 1u; /* the crystal: the core runs at 64 MHz without it, too, but less exactly */
    for (int32_t i = 0; i < READY_POLLS && CLOCK_HFCLKSTARTED == 0u; i++) {
    }
    GPIO_OUTSET(PORT_TX_PIN) = 1u << PORT_TX_PIN % 32u; /* an idle line is high */
    GPIO_DIRSET(PORT_TX_PIN) = 1u << PORT_TX_PIN % 32u;
    UART_PSELTXD = PORT_TX_PIN;
    UART_PSELRXD = PORT_RX_PIN;
    UART_BAUDRATE = UART_BAUDRATE_VALUE;
    UART_ENABLE = UART_ENABLED;
    UART_STARTTX = 1u;
    UART_STARTRX = 1u;
    DEMCR |= 1u << 24; /* trace on: DWT counts */
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1u;
}

void port_putc(char c)
{
    UART_TXDRDY = 0;
    UART_TXD = (uint32_t)(uint8_t)c;
    while (UART_TXDRDY == 0u) {
    }
}

int32_t port_getc(void)
{
    if (UART_RXDRDY == 0u) {
        return -1;
    }
    UART_RXDRDY = 0; /* before the byte is taken, so that the next one is not missed */
    return (int32_t)(UART_RXD & 0xFFu);
}

void port_count_start(void)
{
    DWT_CYCCNT = 0;
}

uint32_t port_count_ticks(void)
{
    return DWT_CYCCNT;
}
