/* RP2350: 150 MHz from the 12 MHz crystal, a console on UART0 (GP0, GP1), cycles from the debug unit; the block that
 * the boot ROM looks for. Registers: the chip's datasheet. */
#include "port.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

#define CLOCKS_REF_CTRL REGISTER(0x40010030u)
#define CLOCKS_REF_SELECTED REGISTER(0x40010038u)
#define CLOCKS_SYS_CTRL REGISTER(0x4001003Cu)
#define CLOCKS_SYS_SELECTED REGISTER(0x40010044u)
#define CLOCKS_PERI_CTRL REGISTER(0x40010048u)
#define RESETS_RESET REGISTER(0x40020000u)
#define RESETS_DONE REGISTER(0x40020008u)
#define GPIO0_CTRL REGISTER(0x40028004u)
#define GPIO1_CTRL REGISTER(0x4002800Cu)
#define PADS_GPIO0 REGISTER(0x40038004u)
#define PADS_GPIO1 REGISTER(0x40038008u)
#define XOSC_CTRL REGISTER(0x40048000u)
#define XOSC_STATUS REGISTER(0x40048004u)
#define PLL_CS REGISTER(0x40050000u)
#define PLL_PWR REGISTER(0x40050004u)
#define PLL_FBDIV_INT REGISTER(0x40050008u)
#define PLL_PRIM REGISTER(0x4005000Cu)
#define UART_DR REGISTER(0x40070000u)
#define UART_FR REGISTER(0x40070018u)
#define UART_IBRD REGISTER(0x40070024u)
#define UART_FBRD REGISTER(0x40070028u)
#define UART_LCR_H REGISTER(0x4007002Cu)
#define UART_CR REGISTER(0x40070030u)
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)

#define RESET_IO_BANK0 (1u << 6)
#define RESET_PADS_BANK0 (1u << 9)
#define RESET_PLL_SYS (1u << 14)
#define RESET_UART0 (1u << 26)
#define XOSC_ON ((0xFABu << 12) | 0xAA0u) /* enable, 1 to 15 MHz */
#define XOSC_STABLE (1u << 31)
#define REF_SRC_XOSC 2u
#define REF_SELECTED_XOSC (1u << 2)
#define SYS_SRC_AUX 1u           /* whose own source stays at its reset value, the PLL */
#define SYS_SELECTED_REF 1u
#define SYS_SELECTED_AUX (1u << 1)
#define PERI_ENABLE (1u << 11) /* from the system's clock */
#define PLL_LOCK (1u << 31)
#define PLL_PWR_MAIN 1u
#define PLL_PWR_POSTDIV (1u << 3)
#define PLL_PWR_VCO (1u << 5)
#define PLL_FBDIV 125u                      /* 1,500 MHz */
#define PLL_POSTDIV ((5u << 16) | (2u << 12)) /* / 5 / 2 = 150 MHz */
#define FUNCTION_UART 2u
#define PAD_ISO (1u << 8)
#define PAD_INPUT (1u << 6)
#define PAD_OUTPUT_OFF (1u << 7)
#define UART_FR_RXFE (1u << 4)
#define UART_FR_TXFF (1u << 5)
#define UART_LCR_8_BITS_FIFO ((3u << 5) | (1u << 4))
#define UART_CR_ON ((1u << 9) | (1u << 8) | 1u) /* receive, transmit, enable */

#define SYS_HZ_FAST 150000000u
#define SYS_HZ_CRYSTAL 12000000u
#define READY_POLLS 100000

/* The least that the boot ROM takes for an image: secure Arm code for RP2350, its vectors at the image's start
 * (datasheet, 5.9.5.1). */
__attribute__((section(".boot_block"), used)) static const uint32_t image_definition[] = {
    0xFFFFDED3u, /* a block begins */
    0x10210142u, /* type of image */
    0x000001FFu, /* last item, one word before it */
    0x00000000u, /* no other block */
    0xAB123579u, /* the block ends */
};

/* ARMv8-M opens the whole. */
const port_region port_peripherals[PORT_PERIPHERAL_REGIONS] = {
    {0x40070000u, 0x1000u, PORT_DEVICE, 0},
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

static void leave_reset(uint32_t blocks)
{
    RESETS_RESET &= ~blocks;
    (void)wait_for(&RESETS_DONE, blocks, blocks);
}

/* The system's clock in Hz. Where the PLL does not lock, the crystal's. */
static uint32_t start_clock(void)
{
    XOSC_CTRL = XOSC_ON;
    (void)wait_for(&XOSC_STATUS, XOSC_STABLE, XOSC_STABLE);
    CLOCKS_REF_CTRL = REF_SRC_XOSC;
    (void)wait_for(&CLOCKS_REF_SELECTED, REF_SELECTED_XOSC, REF_SELECTED_XOSC);
    CLOCKS_SYS_CTRL = 0; /* the reference, while the PLL is set up */
    (void)wait_for(&CLOCKS_SYS_SELECTED, SYS_SELECTED_REF, SYS_SELECTED_REF);
    RESETS_RESET |= RESET_PLL_SYS;
    leave_reset(RESET_PLL_SYS);
    PLL_CS = 1u; /* the crystal undivided */
    PLL_FBDIV_INT = PLL_FBDIV;
    PLL_PWR &= ~(PLL_PWR_MAIN | PLL_PWR_VCO);
    if (wait_for(&PLL_CS, PLL_LOCK, PLL_LOCK) != 0) {
        return SYS_HZ_CRYSTAL;
    }
    PLL_PRIM = PLL_POSTDIV;
    PLL_PWR &= ~PLL_PWR_POSTDIV;
    CLOCKS_SYS_CTRL = SYS_SRC_AUX;
    (void)wait_for(&CLOCKS_SYS_SELECTED, SYS_SELECTED_AUX, SYS_SELECTED_AUX);
    return SYS_HZ_FAST;
}

static void start_console(uint32_t hz)
{
    CLOCKS_PERI_CTRL = PERI_ENABLE;
    leave_reset(RESET_IO_BANK0 | RESET_PADS_BANK0 | RESET_UART0);
    GPIO0_CTRL = FUNCTION_UART;
    GPIO1_CTRL = FUNCTION_UART;
    PADS_GPIO0 = (PADS_GPIO0 | PAD_INPUT) & ~(PAD_ISO | PAD_OUTPUT_OFF);
    PADS_GPIO1 = (PADS_GPIO1 | PAD_INPUT) & ~(PAD_ISO | PAD_OUTPUT_OFF);
    const uint32_t divisor = (4u * hz + PORT_BAUD / 2u) / PORT_BAUD; /* in 64ths */
    UART_IBRD = divisor / 64u;
    UART_FBRD = divisor % 64u;
    UART_LCR_H = UART_LCR_8_BITS_FIFO;
    UART_CR = UART_CR_ON;
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
    while ((UART_FR & UART_FR_TXFF) != 0u) {
    }
    UART_DR = (uint32_t)(uint8_t)c;
}

int32_t port_getc(void)
{
    return (UART_FR & UART_FR_RXFE) == 0u ? (int32_t)(UART_DR & 0xFFu) : -1;
}

void port_count_start(void)
{
    DWT_CYCCNT = 0;
}

uint32_t port_count_ticks(void)
{
    return DWT_CYCCNT;
}
