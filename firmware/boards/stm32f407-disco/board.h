#ifndef BOARD_H
#define BOARD_H

/* USART2 on PA2 and PA3, for a serial adapter: the debugger has no line to them. */
#define PORT_USART 0x40004400u
#define PORT_USART_CLOCK (1u << 17)
#define PORT_GPIO 0x40020000u
#define PORT_GPIO_CLOCK (1u << 0)
#define PORT_TX_PIN 2u
#define PORT_RX_PIN 3u
#define PORT_HSE_IS_CLOCK 0 /* a crystal */

#define PORT_COUNT_UNIT "cycles"
#define PORT_COUNT_PER_TICK 1u

#endif
