/** Telephones from Debian packages, each a process: baresip and Linphone (one call) and SIPp (many calls at once). */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { access, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeWav } from '../../src/media/wav.js'
import { freeUdpPort } from './own-exchange.js'
import { spawnOwn } from './spawn-own.js'

const MODULES = '/usr/lib/baresip/modules'
const EXIT_MS_MAX = 10_000

/** Codec by its name in baresip, with its module and its sound. */
interface BaresipCodec {
  readonly name: string
  readonly module: string
  readonly sampleRateHz: number
  readonly channels: 1 | 2
}

export const BARESIP_CODECS: readonly BaresipCodec[] = [
  { name: 'pcmu/8000/1', module: 'g711', sampleRateHz: 8000, channels: 1 },
  { name: 'pcma/8000/1', module: 'g711', sampleRateHz: 8000, channels: 1 },
  { name: 'gsm/8000/1', module: 'gsm', sampleRateHz: 8000, channels: 1 },
  { name: 'g722/16000/1', module: 'g722', sampleRateHz: 16_000, channels: 1 },
  { name: 'opus/48000/2', module: 'opus', sampleRateHz: 48_000, channels: 2 },
  { name: 'amr/8000/1', module: 'amr', sampleRateHz: 8000, channels: 1 },
]

/** @returns the names of the phones that this machine lacks */
export async function missingPhones(names: readonly ('baresip' | 'sipp' | 'linphonec')[]): Promise<readonly string[]> {
  const missing = await Promise.all(
    names.map((name) =>
      access(`/usr/bin/${name}`).then(
        () => null,
        () => name,
      ),
    ),
  )
  return missing.filter((name) => name !== null)
}

interface PhoneAccount {
  readonly server: number
  readonly user: string
  readonly password: string
}

/**
 * Calls 100 with baresip, plays `sound` once, and hangs up.
 * @param folder  empty folder for the phone
 * @param sound  sound at 8 kHz, with the caller's silence before and after it
 * @returns the WAV of the received sound, and the negotiated codec
 */
export async function callWithBaresip(
  folder: string,
  account: PhoneAccount,
  codec: BaresipCodec,
  sound: Int16Array,
  seconds: number,
): Promise<{ readonly heard: string; readonly decoder: string }> {
  const { name, module, sampleRateHz, channels } = codec
  const { server, user, password } = account
  const mouth = join(folder, 'mouth.wav')
  const ear = join(folder, 'ear')
  await mkdir(ear, { recursive: true })
  await writeFile(mouth, writeWav({ sampleRateHz, channels, samples: spread(sound, sampleRateHz / 8000, channels) }))
  await writeFile(
    join(folder, 'accounts'),
    `<sip:${user}@127.0.0.1:${server};transport=udp>;auth_user=${user};auth_pass=${password};regint=0;audio_codecs=${name}\n`,
  )
  await writeFile(
    join(folder, 'config'),
    [
      ...['sip_listen 127.0.0.1:0', 'audio_player aubridge,x', `audio_source aufile,${mouth}`],
      ...['audio_alert aubridge,y', `ausrc_srate ${sampleRateHz}`, `auplay_srate ${sampleRateHz}`],
      ...[`ausrc_channels ${channels}`, `auplay_channels ${channels}`, 'audio_buffer 20-160'],
      ...[`snd_path ${ear}`, `module_path ${MODULES}`, `module ${module}.so`, 'module aufile.so'],
      ...['module aubridge.so', 'module sndfile.so', 'module_tmp account.so', 'module_app menu.so', ''],
    ].join('\n'),
  )
  const dial = `/dial sip:100@127.0.0.1:${server}`
  const { code, output } = await ended(
    spawn('baresip', ['-f', folder, '-e', dial, '-t', String(seconds)], { stdio: ['ignore', 'pipe', 'pipe'] }),
    seconds * 1000 + EXIT_MS_MAX,
  )
  const heard = (await readdir(ear)).find((file) => file.endsWith('dec.wav'))
  if (heard === undefined)
    throw new Error(
      `baresip heard nothing, and ended with ${code}: ${output.replaceAll(/\s*\[[^[]*bit\/s\)\s*/g, '').slice(-700)}`,
    )
  return { heard: join(ear, heard), decoder: /audio decoder: (\S+)/.exec(output)?.[1] ?? 'none' }
}

const REGISTERED_MS_MAX = 15_000
const STATUS_PAUSE_MS = 300

/**
 * Registers with Linphone, calls 100, plays `sound` once, and hangs up. Linphone uses its best codec.
 * @param folder  empty folder for the phone
 * @param sound  sound at 8 kHz
 * @returns the WAV of the received sound, and the phone's output
 */
export async function callWithLinphone(
  folder: string,
  { server, user, password }: PhoneAccount,
  sound: Int16Array,
  seconds: number,
): Promise<{ readonly heard: string; readonly isRegistered: boolean; readonly output: string }> {
  const [mouth, heard] = [join(folder, 'mouth.wav'), join(folder, 'ear.wav')]
  await mkdir(folder, { recursive: true })
  await writeFile(mouth, writeWav({ sampleRateHz: 8000, channels: 1, samples: sound }))
  const port = `sip_port=${await freeUdpPort()}`
  const settings = ['[sip]', port, 'sip_tls_port=0', '']
  // Without a folder for its database Linphone opens no port.
  await mkdir(join(folder, '.local', 'share', 'linphone'), { recursive: true })
  await writeFile(join(folder, 'linphonerc'), settings.join('\n'))
  const child = spawnOwn('linphonec', ['-c', join(folder, 'linphonerc')], {
    env: { PATH: process.env['PATH'] ?? '', HOME: folder },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const result = ended(child, REGISTERED_MS_MAX + seconds * 1000 + EXIT_MS_MAX)
  let printed = ''
  child.stdout.on('data', (bytes: Buffer) => (printed += bytes.toString()))
  child.stdin.on('error', () => undefined)
  const type = (...commands: string[]): boolean => child.stdin.write(commands.map((line) => `${line}\n`).join(''))
  const at = `127.0.0.1:${server}`
  type(`register sip:${user}@${at} sip:${at} ${password}`)
  const untilMs = performance.now() + REGISTERED_MS_MAX
  const isRegistered = (): boolean => /^(linphonec> )?registered, /m.test(printed)
  while (!isRegistered() && performance.now() < untilMs) {
    await sleep(STATUS_PAUSE_MS)
    type('status register')
  }
  type('soundcard use files', `play ${mouth}`, `record ${heard}`, `call sip:100@${at}`)
  await sleep(seconds * 1000)
  type('terminate', 'quit')
  const { output } = await result
  return { heard, isRegistered: isRegistered(), output }
}

/**
 * Makes many calls to 100 with SIPp, over G.711 A-law: each caller plays `sound` and hangs up after `seconds`.
 * @param perSecond  number of calls that begin per second
 * @returns the exit code, 0 if each call followed the scenario, and the end of the output
 */
export async function callWithSipp(
  folder: string,
  server: number,
  callers: readonly { readonly user: string; readonly password: string }[],
  sound: Uint8Array,
  { seconds, perSecond }: { readonly seconds: number; readonly perSecond: number },
): Promise<{ readonly code: number | null; readonly output: string }> {
  await mkdir(folder, { recursive: true })
  await writeFile(join(folder, 'sound.alaw'), sound)
  await writeFile(
    join(folder, 'callers.csv'),
    [
      'SEQUENTIAL',
      ...callers.map((caller) => `${caller.user};[authentication username=${caller.user} password=${caller.password}]`),
      '',
    ].join('\n'),
  )
  await writeFile(join(folder, 'caller.xml'), scenario(join(folder, 'sound.alaw'), seconds))
  const count = String(callers.length)
  const { code, output } = await ended(
    spawn(
      'sipp',
      [
        ...[`127.0.0.1:${server}`, '-sf', 'caller.xml', '-inf', 'callers.csv', '-i', '127.0.0.1', '-nostdin'],
        ...['-m', count, '-l', count, '-r', String(perSecond), '-trace_err', '-error_file', 'errors.log'],
      ],
      { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'] },
    ),
    (seconds + callers.length / perSecond) * 1000 + 2 * EXIT_MS_MAX,
  )
  const errors = await readFile(join(folder, 'errors.log'), 'utf8').catch(() => '')
  return { code, output: errors + output.slice(-500) }
}

function scenario(sound: string, seconds: number): string {
  const request = (method: string, target: string, sequence: number, to: string, more: string): string => `
  <send${method === 'ACK' ? '' : ' retrans="500"'}><![CDATA[
${method} ${target} SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=[branch]
From: <sip:[field0]@[remote_ip]>;tag=[pid]t[call_number]
${to}
Call-ID: [call_id]
CSeq: ${sequence} ${method}
Contact: <sip:[field0]@[local_ip]:[local_port]>
Max-Forwards: 70
${more}Content-Length: [len]
${method === 'INVITE' ? OFFER : '\n'}]]></send>`
  const number = 'sip:100@[remote_ip]:[remote_port]'
  const first = `To: <${number}>`
  return `<?xml version="1.0" encoding="ISO-8859-1" ?>
<!DOCTYPE scenario SYSTEM "sipp.dtd">
<scenario name="caller">${request('INVITE', number, 1, first, 'Content-Type: application/sdp\n')}
  <recv response="401" auth="true"/>${request('ACK', number, 1, '[last_To:]', '')}${request('INVITE', number, 2, first, '[field1]\nContent-Type: application/sdp\n')}
  <recv response="100" optional="true"/>
  <recv response="180" optional="true"/>
  <recv response="183" optional="true"/>
  <recv response="200" rrs="true"/>${request('ACK', '[next_url]', 2, '[last_To:]', '')}
  <nop><action><exec rtp_stream="${sound},1,8"/></action></nop>
  <pause milliseconds="${seconds * 1000}"/>${request('BYE', '[next_url]', 3, '[last_To:]', '')}
  <recv response="200"/>
</scenario>
`
}

const OFFER = `
v=0
o=caller 1 1 IN IP[local_ip_type] [local_ip]
s=-
c=IN IP[media_ip_type] [media_ip]
t=0 0
m=audio [rtpstream_audio_port] RTP/AVP 8
a=rtpmap:8 PCMA/8000
a=ptime:20
`

/** Repeats each sample: telephones ignore frequencies above 4 kHz. */
function spread(pcm: Int16Array, times: number, channels: number): Int16Array {
  const each = times * channels
  return Int16Array.from({ length: pcm.length * each }, (_, i) => pcm[Math.floor(i / each)] as number)
}

async function ended(
  child: ChildProcess,
  msMax: number,
): Promise<{ readonly code: number | null; readonly output: string }> {
  let output = ''
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (bytes: Buffer) => {
      output = (output + bytes.toString()).slice(-100_000)
    })
  const timer = setTimeout(() => child.kill('SIGKILL'), msMax)
  const [code] = (await once(child, 'close')) as [number | null]
  clearTimeout(timer)
  return { code, output }
}
