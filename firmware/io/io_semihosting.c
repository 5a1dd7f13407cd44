/* Images from the file input.bin, outputs to output.bin, both in the emulator's working folder. */
#include "io.h"
#include "semihosting.h"

const port_region io_region = {0, 0, 0, 0};

static int32_t input_file;
static int32_t output_file;

int32_t io_open(int32_t image_bytes)
{
    input_file = semihosting_open("input.bin", 9, SEMIHOSTING_READ_BINARY);
    output_file = semihosting_open("output.bin", 10, SEMIHOSTING_WRITE_BINARY);
    if (input_file < 0 || output_file < 0) {
        return -1;
    }
    const int32_t bytes = semihosting_file_bytes(input_file);
    if (bytes < 0 || bytes % image_bytes != 0) {
        return -1;
    }
    return bytes / image_bytes;
}

int32_t io_read(uint8_t *to, int32_t bytes)
{
    return semihosting_read(input_file, to, bytes) == 0 ? 0 : -1;
}

int32_t io_seek(int32_t byte)
{
    return semihosting_seek(input_file, byte);
}

uint32_t io_waited_ticks(void)
{
    return 0;
}

int32_t io_write_output(const uint8_t *from, int32_t bytes)
{
    return semihosting_write(output_file, from, bytes) == 0 ? 0 : -1;
}

void io_print(const char *text)
{
    semihosting_print(text);
}

void io_exit(int32_t code)
{
    semihosting_exit(code);
}
