import { execFile } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { GatewayError, messageOf } from '../core/errors.js'
import { ChildProgram } from './child-process.js'
import { asteriskFiles } from './dialplan.js'

const run = promisify(execFile)

/** Minimum version of Asterisk: the first version whose `chan_websocket` uses JSON. */
const VERSION_MIN = [22, 8] as const
const COMMAND_TIMEOUT_MS = 5000
const BOOT_MS_MAX = 20_000
const STOP_MS_MAX = 5000

/** An Asterisk on this machine. */
export interface FoundAsterisk {
  /** The program, and the arguments that precede Asterisk's own arguments. */
  readonly program: string
  readonly prefix: readonly string[]
  readonly modules: string
  readonly data: string
  /** Version, such as `22.10.1`. */
  readonly version: string
}

/**
 * Finds an Asterisk: the machine's Asterisk, or an Asterisk in a folder that contains another system (`mmdebstrap`).
 * The folder's Asterisk is started with the folder's loader, so it needs neither root rights nor a chroot.
 * @param root  the folder; null: the machine
 * @throws GatewayError CONFIG_INVALID without an Asterisk, or if it is older than 22.8
 */
export async function findAsterisk(root: string | null): Promise<FoundAsterisk> {
  const base = root ?? ''
  const binary = await firstOf([
    `${base}/usr/sbin/asterisk`,
    `${base}/usr/local/sbin/asterisk`,
    '/opt/homebrew/sbin/asterisk',
  ])
  const modules = await firstOf([
    ...LIBRARIES.map((folder) => `${base}${folder}/asterisk/modules`),
    '/opt/homebrew/lib/asterisk/modules',
  ])
  const data = await firstOf([
    `${base}/usr/share/asterisk`,
    `${base}/var/lib/asterisk`,
    '/opt/homebrew/var/lib/asterisk',
  ])
  if (binary === null || modules === null || data === null) throw missing(root)
  const loader = root === null ? null : await firstOf(LOADERS.map((file) => `${base}${file}`))
  if (root !== null && loader === null) throw missing(root)
  const libraries = LIBRARIES.map((folder) => base + folder).join(':')
  const [program, prefix] = loader === null ? [binary, []] : [loader, ['--library-path', libraries, binary]]
  const { stdout } = await run(program, [...prefix, '-V'], { timeout: COMMAND_TIMEOUT_MS }).catch((cause: unknown) => {
    throw new GatewayError('CONFIG_INVALID', `${binary} does not start: ${messageOf(cause)}`, { cause })
  })
  const version = /(\d+)\.(\d+)[\d.]*/.exec(stdout)
  const [major, minor] = [Number(version?.[1]), Number(version?.[2])]
  const [majorMin, minorMin] = VERSION_MIN
  if (version === null || major < majorMin || (major === majorMin && minor < minorMin))
    throw new GatewayError(
      'CONFIG_INVALID',
      `${binary} is ${stdout.trim().slice(0, 80)}; allowed: ${VERSION_MIN.join('.')} or later. ${HOW_TO_GET_IT}`,
    )
  return { program, prefix, modules, data, version: version[0] }
}

const LIBRARIES = ['/usr/lib/x86_64-linux-gnu', '/usr/lib/aarch64-linux-gnu', '/usr/lib64', '/usr/lib']
const LOADERS = ['/lib64/ld-linux-x86-64.so.2', '/lib/ld-linux-aarch64.so.1']

/** Help for an operator who has no Asterisk, or an Asterisk that is too old. */
const HOW_TO_GET_IT =
  "To get one: Debian sid: apt install asterisk; a folder of it, as root: mmdebstrap --variant=essential --include=asterisk sid DIR, then --root DIR or ASTERISK_ROOT=DIR; the same folder with Docker: docker run --name asterisk debian:sid sh -c 'apt-get update && apt-get install -y asterisk', then docker export asterisk | tar -x -C DIR; macOS: brew install asterisk."

function missing(root: string | null): GatewayError {
  return new GatewayError(
    'CONFIG_INVALID',
    `there is no Asterisk ${root === null ? 'on this machine' : `in ${root}`}. ${HOW_TO_GET_IT}`,
  )
}

async function firstOf(paths: readonly string[]): Promise<string | null> {
  for (const path of paths) if ((await stat(path).catch(() => null)) !== null) return path
  return null
}

/** A SIP account. */
export interface SipAccount {
  readonly user: string
  readonly password: string
  /** Number that calls of this phone show as their caller. Default: the phone's user. */
  readonly number?: string
}

interface OwnAsteriskOptions {
  readonly asterisk: FoundAsterisk
  /** Address for SIP and RTP: loopback, or this machine's address on the LAN. */
  readonly address: string
  readonly sipPort: number
  /** First of 100 ports for RTP. */
  readonly rtpPort: number
  /** Port of Asterisk's HTTP server on loopback, for the exchange. */
  readonly httpPort: number
  readonly accounts: readonly SipAccount[]
  /** Extensions that lead to the exchange. */
  readonly numbers: readonly string[]
  /** The exchange's address, such as `127.0.0.1:4020`, and the secret of its media sockets. */
  readonly exchange: { readonly address: string; readonly secret: string; readonly headers?: readonly string[] }
  readonly ari: { readonly user: string; readonly password: string }
}

/**
 * An Asterisk that this process runs, with its configuration in a separate folder. The program and the folder end with
 * this process, even if this process is killed.
 */
export class OwnAsterisk {
  readonly #child: ChildProgram
  readonly #folder: string
  readonly #options: OwnAsteriskOptions

  /** @throws GatewayError CONFIG_INVALID if it does not start within 20 s */
  static async start(options: OwnAsteriskOptions): Promise<OwnAsterisk> {
    const folder = await mkdtemp(join(tmpdir(), 'mkondo-asterisk-'))
    await chmod(folder, 0o700)
    const { program, prefix } = options.asterisk
    try {
      for (const name of ['etc', 'run', 'log']) await mkdir(join(folder, name), { mode: 0o700 })
      for (const [name, text] of Object.entries(configuration(options, folder)))
        await writeFile(join(folder, 'etc', name), text, { mode: 0o600 })
      const args = [...prefix, '-f', '-C', join(folder, 'etc', 'asterisk.conf')]
      const own = new OwnAsterisk(new ChildProgram(program, args, { folder, stopMsMax: STOP_MS_MAX }), folder, options)
      await own.#booted()
      return own
    } catch (thrown) {
      await rm(folder, { recursive: true, force: true })
      throw thrown
    }
  }

  private constructor(child: ChildProgram, folder: string, options: OwnAsteriskOptions) {
    this.#child = child
    this.#folder = folder
    this.#options = options
  }

  /**
   * Runs a command on Asterisk's console. @returns the command's output @throws Error if there is no answer within 5 s
   */
  async console(command: string): Promise<string> {
    const { program, prefix } = this.#options.asterisk
    const config = join(this.#folder, 'etc', 'asterisk.conf')
    const { stdout } = await run(program, [...prefix, '-C', config, '-rx', command], { timeout: COMMAND_TIMEOUT_MS })
    return stdout
  }

  /** Stops Asterisk, and removes its folder. */
  stop(): Promise<void> {
    return this.#child.stop()
  }

  async #booted(): Promise<void> {
    const untilMs = performance.now() + BOOT_MS_MAX
    while (performance.now() < untilMs && this.#child.isRunning) {
      const said = await this.console('core waitfullybooted').catch(() => '')
      if (said.includes('fully booted')) return
      await sleep(100)
    }
    await this.stop()
    throw new GatewayError(
      'CONFIG_INVALID',
      `Asterisk ${this.#options.asterisk.version} did not start within ${BOOT_MS_MAX / 1000} s`,
    )
  }
}

const RTP_PORTS = 100

/** Makes Asterisk's files, by name. Asterisk listens only on loopback and `address`. */
function configuration(options: OwnAsteriskOptions, folder: string): Readonly<Record<string, string>> {
  const { asterisk, address, exchange, ari, numbers } = options
  const own = asteriskFiles(exchange)
  return {
    ...own,
    'asterisk.conf': `[directories]
astetcdir => ${folder}/etc
astmoddir => ${asterisk.modules}
astvarlibdir => ${folder}/run
astdbdir => ${folder}/run
astkeydir => ${folder}/run
astdatadir => ${asterisk.data}
astagidir => ${folder}/run
astspooldir => ${folder}/run
astrundir => ${folder}/run
astlogdir => ${folder}/log
[options]
nocolor = yes
documentation_language = en_US
`,
    'modules.conf': `[modules]\nautoload = no\n${MODULES.map((name) => `load = ${name}.so\n`).join('')}`,
    'logger.conf': '[general]\n[logfiles]\nfull => notice,warning,error,verbose\n',
    'http.conf': `[general]\nenabled = yes\nbindaddr = 127.0.0.1\nbindport = ${options.httpPort}\n`,
    'ari.conf': `[general]\nenabled = yes\n[${ari.user}]\ntype = user\npassword = ${ari.password}\n`,
    'rtp.conf': `[general]\nrtpstart = ${options.rtpPort}\nrtpend = ${options.rtpPort + RTP_PORTS - 1}\nicesupport = no\n`,
    'pjsip.conf': `[global]
type = global
endpoint_identifier_order = auth_username,username
[sip]
type = transport
protocol = udp
bind = ${address}:${options.sipPort}
${options.accounts.map((account) => accountText(account, address)).join('')}`,
    'extensions.conf': `[general]
static = yes
writeprotect = yes
[phones]
${numbers.map((number) => `exten => ${number},1,Goto(mkondo,\${EXTEN},1)\n`).join('')}
${own['extensions.conf'] ?? ''}`,
  }
}

function accountText({ user, password, number = user }: SipAccount, address: string): string {
  return `
[${user}]
type = endpoint
context = phones
callerid = <${number}>
auth = ${user}
aors = ${user}
disallow = all
allow = opus,g722,ulaw,alaw,gsm,amr
direct_media = no
media_address = ${address}
bind_rtp_to_media_address = yes
rtp_symmetric = yes
force_rport = yes
rewrite_contact = yes
dtmf_mode = rfc4733
[${user}]
type = auth
auth_type = userpass
username = ${user}
password = ${password}
[${user}]
type = aor
max_contacts = 3
remove_existing = yes
`
}

/** Modules that calls need. A module that this Asterisk does not have, such as a codec, is skipped. */
const MODULES = [
  ...['res_timing_timerfd', 'res_sorcery_config', 'res_sorcery_memory', 'res_sorcery_astdb', 'res_http_websocket'],
  ...[
    'res_websocket_client',
    'res_pjproject',
    'res_pjsip',
    'res_pjsip_session',
    'res_pjsip_sdp_rtp',
    'res_rtp_asterisk',
  ],
  ...['res_pjsip_endpoint_identifier_user', 'res_pjsip_caller_id', 'res_pjsip_rfc3326', 'res_pjsip_dtmf_info'],
  'res_pjsip_header_funcs',
  ...['res_pjsip_pubsub', 'res_pjsip_authenticator_digest', 'res_pjsip_registrar', 'res_pjsip_nat', 'res_crypto'],
  ...[
    'chan_pjsip',
    'chan_websocket',
    'codec_ulaw',
    'codec_alaw',
    'codec_g722',
    'codec_gsm',
    'codec_amr',
    'codec_resample',
  ],
  ...['codec_opus', 'codec_opus_open_source', 'res_format_attr_opus', 'res_format_attr_amr', 'res_curl', 'func_curl'],
  ...[
    'bridge_simple',
    'bridge_native_rtp',
    'bridge_softmix',
    'func_callerid',
    'func_base64',
    'func_channel',
    'func_strings',
    'func_uri',
  ],
  ...['func_uuid', 'func_logic', 'app_dial', 'app_playback', 'app_playtones', 'app_stack', 'pbx_config'],
  ...['res_stasis', 'res_stasis_answer', 'res_stasis_playback', 'res_stasis_recording', 'res_stasis_snoop', 'res_ari'],
  ...['res_ari_model', 'res_ari_channels', 'res_ari_asterisk', 'app_exec'],
]
