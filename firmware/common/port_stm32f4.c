/* STM32F405 to F439: 168 MHz from an external 8 MHz clock, a console on one of the USARTs of APB1, with its pins
 * in board.h, cycles from the debug unit. Registers: reference manual RM0090. */
#include "board.h"
#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC_CR REGISTER(0x40023800u)
#define RCC_PLLCFGR REGISTER(0x40023804u)
#define RCC_CFGR REGISTER(0x40023808u)
#define RCC_AHB1ENR REGISTER(0x40023830u)
#define RCC_APB1ENR REGISTER(0x40023840u)
#define FLASH_ACR REGISTER(0x40023C00u)
#define GPIO(offset) REGISTER(PORT_GPIO + (offset))
#define GPIO_MODER GPIO(0x00u)
#define GPIO_AFR(pin) GPIO(0x20u + 4u * ((pin) / 8u))
#define USART(offset) REGISTER(PORT_USART + (offset))
#define USART_SR USART(0x00u)
#define USART_DR USART(0x04u)
#define USART_BRR USART(0x08u)
#define USART_CR1 USART(0x0Cu)
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)

#define RCC_CR_HSEON (1u << 16)
#define RCC_CR_HSERDY (1u << 17)
#define RCC_CR_HSEBYP (1u << 18)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_PLLCFGR_HSE (1u << 22)
#define RCC_CFGR_SW_PLL 2u
#define RCC_CFGR_SWS_MASK (3u << 2)
#define RCC_CFGR_SWS_PLL (2u << 2)
#define RCC_CFGR_APB1_DIV4 (5u << 10)
#define RCC_CFGR_APB2_DIV2 (4u << 13)
#define FLASH_ACR_5_WAIT_STATES_CACHED (5u | (1u << 8) | (1u << 9) | (1u << 10))
#define USART_SR_RXNE (1u << 5)
#define USART_SR_TXE (1u << 7)
#define USART_CR1_ON ((1u << 13) | (1u << 3) | (1u << 2)) /* enable, transmit, receive */
#define GPIO_ALTERNATE 2u
#define GPIO_FUNCTION_USART 7u

#define PLL_M 8u   /* 8 MHz / 8 = 1 MHz */
#define PLL_N 336u /* 336 MHz */
#define PLL_Q 7u   /* 48 MHz for USB; P stays at its reset value, / 2 = 168 MHz */

#define APB1_HZ_FAST 42000000u
#define APB1_HZ_RESET 16000000u /* internal oscillator, no division */
#define READY_POLLS 100000

/* 0x40000000..0x40007FFF in eighths of 4 KB: USART2 and 3 are in the fifth. The rest is set up before. */
const port_region port_peripherals[PORT_PERIPHERAL_REGIONS] = {
    {0x40000000u, 0x8000u, PORT_DEVICE, 0x10u},
    {0, 0, 0, 0},
};

static int32_t wait_for(const volatile uint32_t *reg, uint32_t mask, uint32_t value)
{
    for (int32_t i = 0; i < READY_POLLS; i++) {
        if ((*reg & mask) == value) {
            return 0;
        }
    }
    return -1;
}

/* The clock of APB1 in Hz. Where the external clock or the PLL does not start (no debugger, an
 * emulator), the chip stays on its 16 MHz oscillator. */
static uint32_t start_clock(void)
{
    RCC_CR |= PORT_HSE_IS_CLOCK ? RCC_CR_HSEBYP : 0u;
    RCC_CR |= RCC_CR_HSEON;
    if (wait_for(&RCC_CR, RCC_CR_HSERDY, RCC_CR_HSERDY) != 0) {
        return APB1_HZ_RESET;
    }
    RCC_PLLCFGR = PLL_M | PLL_N << 6 | RCC_PLLCFGR_HSE | PLL_Q << 24;
    RCC_CR |= RCC_CR_PLLON;
    if (wait_for(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY) != 0) {
        return APB1_HZ_RESET;
    }
    FLASH_ACR = FLASH_ACR_5_WAIT_STATES_CACHED;
    RCC_CFGR = RCC_CFGR_APB1_DIV4 | RCC_CFGR_APB2_DIV2;
    RCC_CFGR |= RCC_CFGR_SW_PLL;
    (void)wait_for(&RCC_CFGR, RCC_CFGR_SWS_MASK, RCC_CFGR_SWS_PLL);
    return APB1_HZ_FAST;
}

static void connect_pin(uint32_t pin)
{
    const uint32_t nibble = 4u * (pin % 8u);
    GPIO_AFR(pin) = (GPIO_AFR(pin) & ~(0xFu << nibble)) | GPIO_FUNCTION_USART << nibble;
    GPIO_MODER = (GPIO_MODER & ~(3u << 2u * pin)) | GPIO_ALTERNATE << 2u * pin;
}

static void start_console(uint32_t apb1_hz)
{
    RCC_AHB1ENR |= PORT_GPIO_CLOCK;
    RCC_APB1ENR |= PORT_USART_CLOCK;
    (void)RCC_APB1ENR; /* a read lets the clock arrive */
    connect_pin(PORT_TX_PIN);
    connect_pin(PORT_RX_PIN);
    USART_BRR = (apb1_hz + PORT_BAUD / 2u) / PORT_BAUD;
    USART_CR1 = USART_CR1_ON;
}

void port_init(void)
{
    start_console(start_clock());
    DEMCR |= 1u << 24; /* trace on: DWT counts */
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1u;
}

void port_putc(char c)
{
    while ((USART_SR & USART_SR_TXE) == 0u) {
    }
    USART_DR = (uint32_t)(uint8_t)c;
}

int32_t port_getc(void)
{
    return (USART_SR & USART_SR_RXNE) != 0u ? (int32_t)(USART_DR & 0xFFu) : -1;
}

void port_count_start(void)
{
    DWT_CYCCNT = 0;
}

uint32_t port_count_ticks(void)
{
    return DWT_CYCCNT;
}
