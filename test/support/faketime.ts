import { existsSync } from 'node:fs'

const LIBRARY = ['x86_64-linux-gnu', 'aarch64-linux-gnu']
  .map((machine) => `/usr/lib/${machine}/faketime/libfaketimeMT.so.1`)
  .find(existsSync)

/**
 * Environment of a process whose calendar clock is wrong, without FAKETIME or FAKETIME_TIMESTAMP_FILE, which say by how
 * much; null without Debian's package faketime.
 */
export const FAKETIME: Readonly<Record<string, string>> | null =
  LIBRARY === undefined ? null : { LD_PRELOAD: LIBRARY, FAKETIME_DONT_FAKE_MONOTONIC: '1', FAKETIME_NO_CACHE: '1' }
