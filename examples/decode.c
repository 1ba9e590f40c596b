/* The numbers of a compressed network in C, on a machine without Python.
 *
 *     bitsback export net.bb --to c --out net.h
 *     cc -std=c99 -Os -o decode decode.c
 *     ./decode net.bb
 *
 * Prints each tensor's name, how many numbers it has, and their sum.
 */
#include <stdio.h>

#define BB_IMPLEMENTATION
#include "net.h"

static uint8_t file[1 << 20]; /* on a microcontroller: the file itself, in flash */
static uint64_t data[NET_DATA / 8 + 1], memory[NET_MEMORY / 8 + 1];

int main(int argc, char **argv) {
    void *tensors[NET_TENSORS];
    bb_grid grids[NET_TENSORS];
    bb_memory room = {(uint8_t *)memory, sizeof memory, 0, 0};
    FILE *from = argc > 1 ? fopen(argv[1], "rb") : NULL;
    size_t size = from ? fread(file, 1, sizeof file, from) : 0;
    bb_lay_out(&net, (uint8_t *)data, tensors);
    int status = bb_decode(&net, file, size, tensors, grids, &room);
    if (status != BB_OK) {
        fprintf(stderr, "cannot decode the file (%d)\n", status);
        return 1;
    }
    for (int i = 0; i < NET_TENSORS; i++) {
        const bb_tensor *t = net.tensors + i;
        size_t count = bb_elements(t);
        double sum = 0;
        if (t->role == BB_WEIGHT || t->role == BB_BIAS) {
            float *values = (float *)tensors[i];
            bb_floats(t, grids + i, (const int32_t *)tensors[i], values);
            for (size_t k = 0; k < count; k++) sum += values[k];
        }
        printf("%s %lu %.9g\n", t->name, (unsigned long)count, sum);
    }
    return 0;
}
