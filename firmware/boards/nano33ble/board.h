#ifndef BOARD_H
#define BOARD_H

/* P1.03 and P1.10, the board's TX and RX: for a serial adapter. */
#define PORT_TX_PIN (32u + 3u)
#define PORT_RX_PIN (32u + 10u)

#define PORT_COUNT_UNIT "cycles"
#define PORT_COUNT_PER_TICK 1u

#endif
