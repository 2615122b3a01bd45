/* What needs files fails with an errno, not otherwise. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

int main(void) {
    struct stat about;
    printf("fopen %d\n", fopen("/etc/passwd", "r") == NULL && errno != 0);
    printf("mkdir %d\n", mkdir("made", 0777) == -1 && errno != 0);
    printf("stat %d\n", stat(".", &about) == -1 && errno != 0);
    printf("opendir %d\n", opendir(".") == NULL && errno != 0);
    printf("seek %d\n", lseek(1, 1, SEEK_SET) == -1 && errno == ESPIPE);
    printf("close %d\n", close(7) == -1 && errno == EBADF);
    printf("isatty %d\n", isatty(1));
    fprintf(stderr, "closed %d\n", close(1) == 0 && write(1, "lost\n", 5) == -1 && errno == EBADF);
    return 0;
}
