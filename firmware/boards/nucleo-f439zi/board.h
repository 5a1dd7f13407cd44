#ifndef BOARD_H
#define BOARD_H

/* USART3 on PD8 and PD9: the debugger's virtual serial port. */
#define PORT_USART 0x40004800u
#define PORT_USART_CLOCK (1u << 18)
#define PORT_GPIO 0x40020C00u
#define PORT_GPIO_CLOCK (1u << 3)
#define PORT_TX_PIN 8u
#define PORT_RX_PIN 9u
#define PORT_HSE_IS_CLOCK 1 /* the debugger's, not a crystal */

#define PORT_COUNT_UNIT "cycles"
#define PORT_COUNT_PER_TICK 1u

#endif
