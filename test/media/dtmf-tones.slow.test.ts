import t from 'tap'
import { dtmfTones } from '../../src/media/dtmf-tones.js'
import { hasProgram } from '../deploy/deploy-files.js'
import { PCM_8K, ffmpeg, hasFfmpeg, piped } from '../support/ffmpeg.js'
import { bytesOf, concatenate, silence } from '../support/tones.js'

const KEYS = '123A456B789C*0#D11'
/** A line, and how its end is read. */
const LINES: Readonly<Record<string, readonly string[] | null>> = {
  'as it is': null,
  'over G.711': ['mulaw', '-ar', '8000', '-ac', '1'],
  'over GSM': ['gsm'],
}

// The detector is Debian's package multimon-ng: it shares nothing with our tones and our detector.
for (const [name, format] of Object.entries(LINES))
  t.test(`multimon-ng detects each key once, ${name}`, (t) => {
    if (!hasFfmpeg(t) || !hasProgram(t, 'multimon-ng', 'multimon-ng')) return void t.end()
    const sent = bytesOf(concatenate(silence(8000, 500), dtmfTones(KEYS, 8000), silence(8000, 500)))
    const [kind = '', ...read] = format ?? []
    const line =
      format === null
        ? sent
        : ffmpeg(
            ffmpeg(sent, ...PCM_8K, '-f', kind, 'pipe:1'),
            ...['-f', kind, ...read, '-i', 'pipe:0', '-f', 's16le', 'pipe:1'],
          )
    const resampled = ffmpeg(line, ...PCM_8K, '-ar', '22050', '-f', 's16le', 'pipe:1')
    const heard = piped(resampled, 'multimon-ng', '-q', '-t', 'raw', '-a', 'DTMF', '-').toString()
    t.equal(heard.replace(/DTMF: |\s/g, ''), KEYS)
    t.end()
  })
