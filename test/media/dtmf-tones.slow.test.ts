import { spawnSync } from 'node:child_process'
import t from 'tap'
import { dtmfTones } from '../../src/media/dtmf-tones.js'
import { bytesOf, concatenate, silence } from '../support/tones.js'

const KEYS = '123A456B789C*0#D11'
const PCM_8K = ['-f', 's16le', '-ar', '8000', '-ac', '1']
/** A line, and how its end is read. */
const LINES: Readonly<Record<string, readonly string[] | null>> = {
  'as it is': null,
  'over G.711': ['mulaw', '-ar', '8000', '-ac', '1'],
  'over GSM': ['gsm'],
}

function run(command: string, args: readonly string[], input: Uint8Array): Buffer {
  const { status, stdout, stderr, error } = spawnSync(command, args, { input })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(stderr.toString())
  return stdout
}

// Of Debian's package multimon-ng: it shares nothing with our tones and our detector.
for (const [name, format] of Object.entries(LINES))
  t.test(`multimon-ng hears each key once, ${name}`, (t) => {
    const ffmpeg = (input: Uint8Array, ...args: string[]): Buffer =>
      run('ffmpeg', ['-hide_banner', '-loglevel', 'error', ...args], input)
    const sent = bytesOf(concatenate(silence(8000, 500), dtmfTones(KEYS, 8000), silence(8000, 500)))
    const [kind = '', ...read] = format ?? []
    const line =
      format === null
        ? sent
        : ffmpeg(
            ffmpeg(sent, ...PCM_8K, '-i', 'pipe:0', '-f', kind, 'pipe:1'),
            ...['-f', kind, ...read, '-i', 'pipe:0', '-f', 's16le', 'pipe:1'],
          )
    const resampled = ffmpeg(line, ...PCM_8K, '-i', 'pipe:0', '-ar', '22050', '-f', 's16le', 'pipe:1')
    const heard = run('multimon-ng', ['-q', '-t', 'raw', '-a', 'DTMF', '-'], resampled).toString()
    t.equal(heard.replace(/DTMF: |\s/g, ''), KEYS)
    t.end()
  })
