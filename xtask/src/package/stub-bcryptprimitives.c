/* Wine 8 has no bcryptprimitives.dll, which Windows has since 7: for checks under such a Wine, and no part of any package. */
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length); /* RtlGenRandom, of advapi32 */

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)
{
    while (length > 0) {
        ULONG piece = length > 0x10000000 ? 0x10000000 : (ULONG)length;
        if (!SystemFunction036(buffer, piece)) return FALSE;
        buffer += piece;
        length -= piece;
    }
    return TRUE;
}
