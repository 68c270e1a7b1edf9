import { spawnSync } from 'node:child_process'
import type { Test } from 'tap'
import { hasProgram } from '../deploy/deploy-files.js'

const BYTES_MAX = 1 << 26

/** Arguments for an input of PCM at 8 kHz. */
export const PCM_8K = ['-f', 's16le', '-ar', '8000', '-ac', '1', '-i', 'pipe:0']

/** @returns the program's output for `input`. @throws Error with its error output, or that it is not installed */
export function piped(input: Uint8Array, program: string, ...args: string[]): Buffer {
  const { status, stdout, stderr, error } = spawnSync(program, args, { input, maxBuffer: BYTES_MAX })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(stderr.toString())
  return stdout
}

/** True if ffmpeg is installed. If false, the test is skipped with a message. */
export function hasFfmpeg(t: Test): boolean {
  return hasProgram(t, 'ffmpeg', 'ffmpeg')
}

/** @returns `input` after conversion by ffmpeg's arguments */
export function ffmpeg(input: Uint8Array, ...args: string[]): Buffer {
  return piped(input, 'ffmpeg', '-hide_banner', '-loglevel', 'error', ...args)
}
