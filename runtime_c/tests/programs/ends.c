/* Ends as its argument says: with that exit code, by abort, by a trap; or reads its input until the end. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    const char *how = argc > 1 ? argv[1] : "0";
    if (strcmp(how, "abort") == 0) abort();
    volatile int divisor = argc - 2;
    if (strcmp(how, "trap") == 0) return argc / divisor;
    if (strcmp(how, "read") == 0) {
        int bytes = 0;
        while (getchar() != EOF) bytes++;
        printf("%d bytes, %s\n", bytes, ferror(stdin) ? "failed" : "end of file");
        return 0;
    }
    exit((int)strtol(how, NULL, 10));
}
