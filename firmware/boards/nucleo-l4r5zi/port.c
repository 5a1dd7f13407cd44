/* STM32L4R5ZI: 120 MHz from its own 16 MHz oscillator, a console on LPUART1 (PG7, PG8: the debugger's virtual
 * serial port), cycles from the debug unit. Registers: reference manual RM0432. */
#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define RCC_CR REGISTER(0x40021000u)
#define RCC_CFGR REGISTER(0x40021008u)
#define RCC_PLLCFGR REGISTER(0x4002100Cu)
#define RCC_AHB2ENR REGISTER(0x4002104Cu)
#define RCC_APB1ENR1 REGISTER(0x40021058u)
#define RCC_APB1ENR2 REGISTER(0x4002105Cu)
#define RCC_CCIPR REGISTER(0x40021088u)
#define FLASH_ACR REGISTER(0x40022000u)
#define PWR_CR1 REGISTER(0x40007000u)
#define PWR_CR2 REGISTER(0x40007004u)
#define PWR_SR2 REGISTER(0x40007014u)
#define PWR_CR5 REGISTER(0x40007080u)
#define GPIOG_MODER REGISTER(0x48001800u)
#define GPIOG_AFRL REGISTER(0x48001820u)
#define GPIOG_AFRH REGISTER(0x48001824u)
#define LPUART1_CR1 REGISTER(0x40008000u)
#define LPUART1_BRR REGISTER(0x4000800Cu)
#define LPUART1_ISR REGISTER(0x4000801Cu)
#define LPUART1_RDR REGISTER(0x40008024u)
#define LPUART1_TDR REGISTER(0x40008028u)
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)

#define RCC_CR_HSION (1u << 8)
#define RCC_CR_HSIRDY (1u << 10)
#define RCC_CR_PLLON (1u << 24)
#define RCC_CR_PLLRDY (1u << 25)
#define RCC_PLLCFGR_HSI 2u
#define RCC_PLLCFGR_REN (1u << 24)
#define RCC_CFGR_SW_PLL 3u
#define RCC_CFGR_SWS_MASK (3u << 2)
#define RCC_CFGR_SWS_PLL (3u << 2)
#define RCC_CFGR_HPRE_DIV2 (8u << 4)
#define RCC_CFGR_HPRE_MASK (15u << 4)
#define RCC_CCIPR_LPUART1_MASK (3u << 10)
#define RCC_CCIPR_LPUART1_HSI (2u << 10)
#define PWR_CR1_VOS_MASK (3u << 9)
#define PWR_CR1_VOS_RANGE1 (1u << 9)
#define PWR_CR2_IOSV (1u << 9) /* the pins PG2 to PG15 have power */
#define PWR_SR2_VOSF (1u << 10)
#define PWR_CR5_R1MODE (1u << 8) /* off: range 1 with boost, above 80 MHz */
#define FLASH_ACR_5_WAIT_STATES_CACHED (5u | (1u << 8) | (1u << 9) | (1u << 10))
#define UART_ISR_RXNE (1u << 5)
#define UART_ISR_TXE (1u << 7)
#define UART_CR1_ON ((1u << 3) | (1u << 2) | 1u) /* transmit, receive, enable */

#define PLL_M 2u  /* 16 MHz / 2 = 8 MHz */
#define PLL_N 30u /* 240 MHz; R stays at its reset value, / 2 = 120 MHz */

#define HSI_HZ 16000000u
#define READY_POLLS 100000
#define MICROSECOND_POLLS 200

const port_region port_peripherals[PORT_PERIPHERAL_REGIONS] = {
    {0x40008000u, 0x400u, PORT_DEVICE, 0},
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

/* Where the PLL does not start, the chip stays on its 4 MHz oscillator. */
static void start_clock(void)
{
    RCC_CR |= RCC_CR_HSION;
    (void)wait_for(&RCC_CR, RCC_CR_HSIRDY, RCC_CR_HSIRDY);
    PWR_CR1 = (PWR_CR1 & ~PWR_CR1_VOS_MASK) | PWR_CR1_VOS_RANGE1;
    if (wait_for(&PWR_SR2, PWR_SR2_VOSF, 0) != 0) {
        return;
    }
    PWR_CR5 &= ~PWR_CR5_R1MODE;
    RCC_PLLCFGR = RCC_PLLCFGR_HSI | (PLL_M - 1u) << 4 | PLL_N << 8 | RCC_PLLCFGR_REN;
    RCC_CR |= RCC_CR_PLLON;
    if (wait_for(&RCC_CR, RCC_CR_PLLRDY, RCC_CR_PLLRDY) != 0) {
        return;
    }
    FLASH_ACR = FLASH_ACR_5_WAIT_STATES_CACHED;
    (void)wait_for(&FLASH_ACR, 15u, 5u);
    RCC_CFGR = RCC_CFGR_HPRE_DIV2; /* more than 80 MHz are reached by way of half the clock */
    RCC_CFGR |= RCC_CFGR_SW_PLL;
    (void)wait_for(&RCC_CFGR, RCC_CFGR_SWS_MASK, RCC_CFGR_SWS_PLL);
    for (volatile int32_t i = 0; i < MICROSECOND_POLLS; i++) {
    }
    RCC_CFGR &= ~RCC_CFGR_HPRE_MASK;
}

/* On the internal oscillator, whatever the core's clock is. */
static void start_console(void)
{
    PWR_CR2 |= PWR_CR2_IOSV;
    RCC_AHB2ENR |= 1u << 6; /* port G */
    RCC_CCIPR = (RCC_CCIPR & ~RCC_CCIPR_LPUART1_MASK) | RCC_CCIPR_LPUART1_HSI;
    RCC_APB1ENR2 |= 1u; /* LPUART1 */
    (void)RCC_APB1ENR2; /* a read lets the clock arrive */
    GPIOG_AFRL = (GPIOG_AFRL & ~(0xFu << 28)) | 8u << 28; /* PG7, PG8: function 8 */
    GPIOG_AFRH = (GPIOG_AFRH & ~0xFu) | 8u;
    GPIOG_MODER = (GPIOG_MODER & ~(0xFu << 14)) | 0xAu << 14;
    LPUART1_BRR = (uint32_t)(((uint64_t)HSI_HZ * 256u + PORT_BAUD / 2u) / PORT_BAUD);
    LPUART1_CR1 = UART_CR1_ON;
}

void port_init(void)
{
    RCC_APB1ENR1 |= 1u << 28; /* power control */
    (void)RCC_APB1ENR1;
    start_clock();
    start_console();
    DEMCR |= 1u << 24; /* trace on: DWT counts */
    DWT_CYCCNT = 0;
    DWT_CTRL |= 1u;
}

void port_putc(char c)
{
    while ((LPUART1_ISR & UART_ISR_TXE) == 0u) {
    }
    LPUART1_TDR = (uint32_t)(uint8_t)c;
}

int32_t port_getc(void)
{
    return (LPUART1_ISR & UART_ISR_RXNE) != 0u ? (int32_t)(LPUART1_RDR & 0xFFu) : -1;
}

void port_count_start(void)
{
    DWT_CYCCNT = 0;
}

uint32_t port_count_ticks(void)
{
    return DWT_CYCCNT;
}
