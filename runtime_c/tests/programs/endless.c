/* Says that it is ready, then works forever; with an argument it goes on talking. */
#include <stdio.h>

int main(int argc, char **argv) {
    (void)argv;
    volatile unsigned rounds = 0;
    do {
        puts("ready");
    } while (argc > 1);
    for (;;) rounds++;
}
