#ifndef BOARD_H
#define BOARD_H

#define PORT_COUNT_UNIT "cycles"
#define PORT_COUNT_PER_TICK 1u

#endif
