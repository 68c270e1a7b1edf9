import { execFile } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, relative } from 'node:path'
import { promisify } from 'node:util'
import { channelOf, parseWav } from '../src/media/wav.js'
import type { LegRateHz } from '../src/core/units.js'

/**
 * Recordings of Debian 12, made outside this project: recordings of one person each, and music on hold. Some of them
 * are used to choose or fit settings (each file says which). Others are used to judge. Never fit settings to the
 * recordings that judge.
 */
const MATERIAL = {
  allison: { folder: '/usr/share/asterisk/sounds/en_US_f_Allison', packages: 'asterisk-core-sounds-en' },
  june: { folder: '/usr/share/asterisk/sounds/fr_CA_f_June', packages: 'asterisk-core-sounds-fr' },
  carlo: { folder: '/usr/share/asterisk/sounds/it_IT_m_Carlo', packages: 'asterisk-core-sounds-it' },
  music: { folder: '/usr/share/asterisk/moh', packages: 'asterisk-moh-opsound' },
} as const

export type Material = keyof typeof MATERIAL

/** Music of Debian's games. It is by many composers, with all kinds of instruments, and almost without singing. */
const ALBUMS = {
  wesnoth: { folder: '/usr/share/games/wesnoth/1.16/data/core/music', packages: 'wesnoth-1.16-music' },
  supertux: { folder: '/usr/share/games/supertux2/music', packages: 'supertux-data' },
  hyperrogue: { folder: '/usr/share/hyperrogue/music', packages: 'hyperrogue-music' },
  singularity: { folder: '/usr/share/games/singularity/music', packages: 'singularity-music' },
  pingus: { folder: '/usr/share/games/pingus/data/music', packages: 'pingus-data' },
} as const

export type Album = keyof typeof ALBUMS

/**
 * Short recordings of many people: letters and syllables in twenty languages, words in twenty-two languages, and the
 * dialogues of two actors in each of Czech and Dutch. The first group of a pattern is the person's name.
 */
const CROWDS = {
  klettres: { folder: '/usr/share/klettres', packages: 'klettres-data', person: /^([^/]+)\// },
  ktuberling: { folder: '/usr/share/ktuberling/sounds', packages: 'ktuberling-data', person: /^([a-z]+)\// },
  czech: {
    folder: '/usr/share/games/fillets-ng/sound',
    packages: 'fillets-ng-data-cs',
    person: /\/cs\/[^/]*-([mv])[-0-9]/,
  },
  dutch: {
    folder: '/usr/share/games/fillets-ng/sound',
    packages: 'fillets-ng-data-nl',
    person: /\/nl\/[^/]*-([mv])[-0-9]/,
  },
} as const

export type Crowd = keyof typeof CROWDS

const VOICE_FILE = /\.(ogg|mp3|wav)$/
const PIECE_FILE = /\.(ogg|mp3|it|xm|s3m|mod)$/
/** Files of hyperrogue whose headers ffmpeg refuses. */
const UNREADABLE = /^hr-savino-(caribbean|ivory|ocean)\.ogg$/
/** Start in s, after the beginning of a piece, because the beginning often differs from the rest. */
const PIECE_FROM_S = 8
const PIECE_S = 60
const PIECE_LEAST_S = 32

/** Level that is above the noise of the recordings, and below the sounds S and F. */
const QUIET_PEAK = 80
const PCM_BYTES_MAX = 64 * 1024 * 1024

/** Packages for `apt-get install` that these recordings need; null if all are installed. */
export function missingMaterial(...wanted: readonly Material[]): string | null {
  const missing = wanted
    .map((name) => MATERIAL[name])
    .filter(({ folder }) => !(hasFiles(folder, '.g722') && hasFiles(folder, '.wav')))
    .flatMap(({ packages }) => [`${packages}-g722`, `${packages}-wav`])
  if (!hasFfmpeg()) missing.push('ffmpeg')
  return missing.length > 0 ? missing.join(' ') : null
}

/** As `missingMaterial`, for albums. */
export function missingAlbums(...wanted: readonly Album[]): string | null {
  const missing = wanted.map((name) => ALBUMS[name]).filter(({ folder }) => !existsSync(folder))
  const packages: string[] = missing.map((album) => album.packages)
  if (!hasFfmpeg()) packages.push('ffmpeg')
  return packages.length > 0 ? packages.join(' ') : null
}

/**
 * At most one minute of each piece of an album, in order of the pieces' names: mono, 16 kHz. Short pieces are left out.
 */
export async function albumPieces(name: Album): Promise<readonly Int16Array[]> {
  const { folder } = ALBUMS[name]
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && PIECE_FILE.test(entry.name) && !UNREADABLE.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
  const pieces: Int16Array[] = []
  for (const file of files.toSorted())
    pieces.push(await decoded(['-ss', String(PIECE_FROM_S), '-t', String(PIECE_S), '-i', file]))
  return pieces.filter(({ length }) => length >= PIECE_LEAST_S * 16_000)
}

/** As `missingMaterial`, for crowds. */
export function missingCrowds(...wanted: readonly Crowd[]): string | null {
  const missing = wanted.filter((name) => crowdFiles(name).size === 0)
  const packages: string[] = missing.map((name) => CROWDS[name].packages)
  if (!hasFfmpeg()) packages.push('ffmpeg')
  return packages.length > 0 ? packages.join(' ') : null
}

/**
 * Speech of each person of a crowd, in order of the persons' names: mono, 16 kHz, unchanged.
 * @param count  number of recordings of each person, spread evenly over all of the person's recordings; fewer if the
 * person has fewer
 */
export async function crowdRecordings(name: Crowd, count: number): Promise<readonly (readonly Int16Array[])[]> {
  const people: Int16Array[][] = []
  for (const files of crowdFiles(name).values()) {
    const recorded: Int16Array[] = []
    for (const file of spread(files, count)) recorded.push(await decoded(['-i', file]))
    people.push(recorded)
  }
  return people
}

/** This number of recordings, spread evenly over all; all recordings if there are fewer. */
export function spread<T>(all: readonly T[], count: number): T[] {
  const wanted = Math.min(count, all.length)
  return Array.from({ length: wanted }, (_, i) => all[Math.floor((i * all.length) / wanted)] as T)
}

function crowdFiles(name: Crowd): ReadonlyMap<string, readonly string[]> {
  const { folder, person } = CROWDS[name]
  const people = new Map<string, string[]>()
  if (!existsSync(folder)) return people
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && VOICE_FILE.test(entry.name))
    .map((entry) => join(entry.parentPath, entry.name))
  for (const file of files.toSorted()) {
    const who = person.exec(relative(folder, file))?.[1]
    if (who !== undefined) people.set(who, [...(people.get(who) ?? []), file])
  }
  return people
}

/** Where its recordings are. */
export const materialFolder = (name: Material): string => MATERIAL[name].folder

/** Names of the person's recordings without folder and extension, such as `digits/4` or `vm-goodbye`, sorted. */
export function recordings(name: Material): readonly string[] {
  const { folder } = MATERIAL[name]
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.wav'))
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replace(/\.wav$/, ''))
    .toSorted()
}

/**
 * One recording, mono 16-bit: at 16 kHz from its G.722 file (wide band), or at 8 kHz from its WAV file.
 * @param recording  one of `recordings(name)`
 */
export async function readRecording(name: Material, recording: string, rateHz: LegRateHz): Promise<Int16Array> {
  const path = join(MATERIAL[name].folder, recording)
  if (rateHz === 8000) return channelOf(parseWav(await readFile(`${path}.wav`)), 0)
  return decoded(['-f', 'g722', '-i', `${path}.g722`])
}

/**
 * Recording like `readRecording`, without the quiet before and after the voice. The result is a view of the recording.
 */
export async function readVoice(name: Material, recording: string, rateHz: LegRateHz): Promise<Int16Array> {
  const pcm = await readRecording(name, recording, rateHz)
  const isVoice = (sample: number): boolean => Math.abs(sample) > QUIET_PEAK
  return pcm.subarray(pcm.findIndex(isVoice), pcm.findLastIndex(isVoice))
}

/**
 * @param input  options of ffmpeg that name its input.
 * @returns the input as mono 16-bit PCM at 16 kHz
 */
async function decoded(input: readonly string[]): Promise<Int16Array> {
  const { stdout } = await promisify(execFile)(
    'ffmpeg',
    ['-v', 'error', ...input, '-f', 's16le', '-ac', '1', '-ar', '16000', '-'],
    { encoding: 'buffer', maxBuffer: PCM_BYTES_MAX },
  )
  return new Int16Array(stdout.buffer.slice(stdout.byteOffset, stdout.byteOffset + stdout.length - (stdout.length % 2)))
}

function hasFfmpeg(): boolean {
  return (process.env['PATH'] ?? '').split(':').some((folder) => existsSync(join(folder, 'ffmpeg')))
}

function hasFiles(folder: string, ending: string): boolean {
  return existsSync(folder) && readdirSync(folder).some((name) => name.endsWith(ending))
}
