import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { channelOf, parseWav } from '../src/media/wav.js'
import type { LegRateHz } from '../src/core/units.js'

/**
 * Recordings of Debian 12 that nobody here made: one person each, and music on hold. What is chosen or fitted is chosen
 * by some of them (each file says which); judged is by others, so learn none by heart.
 */
const MATERIAL = {
  allison: { folder: '/usr/share/asterisk/sounds/en_US_f_Allison', packages: 'asterisk-core-sounds-en' },
  june: { folder: '/usr/share/asterisk/sounds/fr_CA_f_June', packages: 'asterisk-core-sounds-fr' },
  carlo: { folder: '/usr/share/asterisk/sounds/it_IT_m_Carlo', packages: 'asterisk-core-sounds-it' },
  music: { folder: '/usr/share/asterisk/moh', packages: 'asterisk-moh-opsound' },
} as const

export type Material = keyof typeof MATERIAL

/** The recordings' own noise stays below it, and an S or an F above. */
const QUIET_PEAK = 80
const PCM_BYTES_MAX = 64 * 1024 * 1024

/** What `apt-get install` needs for these, or null when all of it is here. */
export function missingMaterial(...wanted: readonly Material[]): string | null {
  const missing = wanted
    .map((name) => MATERIAL[name])
    .filter(({ folder }) => !(hasFiles(folder, '.g722') && hasFiles(folder, '.wav')))
    .flatMap(({ packages }) => [`${packages}-g722`, `${packages}-wav`])
  if (!(process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, 'ffmpeg'))))
    missing.push('ffmpeg')
  return missing.length > 0 ? missing.join(' ') : null
}

/** Names of its recordings without folder and ending, such as `digits/4` or `vm-goodbye`, sorted. */
export function recordings(name: Material): readonly string[] {
  const { folder } = MATERIAL[name]
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.wav'))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replace(/\.wav$/, ''))
    .toSorted()
}

/**
 * One recording, mono 16-bit: at 16 kHz from its G.722 file (wide band), at 8 kHz from its WAV file.
 * @param recording one of `recordings(name)`
 */
export async function readRecording(name: Material, recording: string, rateHz: LegRateHz): Promise<Int16Array> {
  const path = join(MATERIAL[name].folder, recording)
  if (rateHz === 8000) return channelOf(parseWav(await readFile(`${path}.wav`)), 0)
  const { stdout } = await promisify(execFile)(
    'ffmpeg',
    ['-v', 'error', '-f', 'g722', '-i', `${path}.g722`, '-f', 's16le', '-ac', '1', '-ar', '16000', '-'],
    { encoding: 'buffer', maxBuffer: PCM_BYTES_MAX },
  )
  return new Int16Array(stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.length - (stdout.length % 2)))
}

/** As `readRecording`, without the quiet before and after the voice. A view of the recording. */
export async function readVoice(name: Material, recording: string, rateHz: LegRateHz): Promise<Int16Array> {
  const pcm = await readRecording(name, recording, rateHz)
  const isVoice = (sample: number): boolean => Math.abs(sample) > QUIET_PEAK
  return pcm.subarray(pcm.findIndex(isVoice), pcm.findLastIndex(isVoice))
}

function hasFiles(folder: string, ending: string): boolean {
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith(ending))
}
