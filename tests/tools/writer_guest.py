"""A guest without an operating system that writes counters to two disks, in order.

The boot sector below, on the first disk, is run by SeaBIOS in real mode. For n = 1, 2, 3 … it fills
a sector with n (128 times, 32 bits, little endian) and writes it, each write waiting for the one
before: first disk sector 1, second disk sector 1, first disk slot n mod 64, second disk the same
slot. Slots are 64 KiB apart, from 64 KiB on. So at any instant the first disk's n is the second's
or one more, and every slot follows from n. It prints `.` to port 0xe9 every 16 rounds, `E` for
every write that failed (and tries again), and rests for a timer tick every 32 rounds.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SLOTS = 64
SLOT_BYTES = 64 * 1024
DISK_BYTES = 16 * 1024 * 1024

# as --32 -o w.o w.s; ld -m elf_i386 -Ttext 0x7c00 --oformat binary -o w.bin w.o
SOURCE = """
.code16
    cli;  xorw %ax, %ax;  movw %ax, %ds;  movw %ax, %es;  movw %ax, %ss
    movw $0x7c00, %sp;  sti;  cld
next:
    incl n;  movl n, %eax
    movw $0x8000, %di;  movw $128, %cx;  rep stosl      # the sector, full of n
    movl $1, lba;  call both
    movl n, %eax;  andl $63, %eax;  incl %eax;  shll $7, %eax
    movl %eax, lba;  call both
    testb $15, n;  jnz next
    movb $'.', %al;  outb %al, $0xe9
    testb $31, n;  jnz next
    hlt;  jmp next
both:
    movb $0x80, %dl;  call write
    movb $0x81, %dl
write:
    movw $packet, %si;  movw $0x4300, %ax;  int $0x13;  jnc done
    movb $'E', %al;  outb %al, $0xe9
    hlt;  jmp write
done:
    ret
n:      .long 0
packet: .byte 16, 0;  .word 1;  .word 0x8000, 0
lba:    .long 0, 0
"""
CODE = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007cfbfc66ff06717c66a1717cbf0080b9800066f3ab66c7067d7c01000000e82c00"
    "66a1717c66253f000000664066c1e00766a37d7ce81500f606717c0f75c4b02ee6e9f606717c1f75b9f4ebb6"
    "b280e80200b281be757cb80043cd137307b045e6e9f4ebefc30000000010000100008000000000000000000000"
)


def boot_sector() -> bytes:
    return CODE.ljust(510, b"\0") + b"\x55\xaa"


def make_disks(first: Path, second: Path) -> None:
    """Make both disks as sparse raw files; the first one boots."""
    for path in (first, second):
        with path.open("wb") as file:
            file.truncate(DISK_BYTES)
    with first.open("r+b") as file:
        file.write(boot_sector())


def counter(sector: bytes) -> int:
    """Return the n of a sector; AssertionError where it is torn."""
    numbers = set(struct.unpack("<128I", sector))
    assert len(numbers) == 1, "torn sector"
    return int(numbers.pop())


def check_instant(first: bytes, second: bytes) -> int:
    """Check that both disks are of one instant; return the first disk's n."""
    n = counter(first[512:1024])
    assert counter(second[512:1024]) in {n, n - 1}
    first_slots = _slots(first)
    second_slots = _slots(second)
    assert first_slots in (_expected(n), _expected(n - 1))
    assert second_slots in (_expected(n), _expected(n - 1))
    if counter(second[512:1024]) == n - 1:
        assert first_slots == second_slots == _expected(n - 1)
    return n


def _slots(disk: bytes) -> list[int]:
    starts = range(SLOT_BYTES, SLOT_BYTES * (SLOTS + 1), SLOT_BYTES)
    return [counter(disk[start : start + 512]) for start in starts]


def _expected(n: int) -> list[int]:
    return [max(0, n - (n - slot) % SLOTS) if n >= slot else 0 for slot in range(SLOTS)]
