import { loadConfig } from '../config/load-config.js'
import type { Config } from '../config/settings.js'
import { GatewayError, messageOf } from '../core/errors.js'

const TIMEOUT_MS = 15_000
const BODY_BYTES_MAX = 16 * 1024 * 1024
/** A journal with the audio of both sides at 16 kHz has 5 MB a minute (base64), a recording 4. */
const FILE_BYTES_MAX = 256 * 1024 * 1024

/** An answer of the ops port; `body` is its JSON. */
interface OpsAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

/** URL of this machine's ops port by these settings. */
export function opsUrlOf(config: Config): string {
  const host = config.opsHost === '0.0.0.0' || config.opsHost === '::' ? '127.0.0.1' : config.opsHost
  return `http://${host.includes(':') ? `[${host}]` : host}:${config.opsPort}`
}

/** What every command has that asks a running gateway. */
export interface OpsOptions {
  readonly json?: true
  readonly opsUrl?: string
  readonly config?: string
}

/** The ops port that a command's options, or else the settings, name. */
export function opsClientOf(
  options: Pick<OpsOptions, 'opsUrl' | 'config'>,
  { env }: { readonly env: Readonly<Record<string, string | undefined>> },
  timeoutMs = TIMEOUT_MS,
): OpsClient {
  const config = loadConfig(env, options.config ?? null)
  return new OpsClient(options.opsUrl ?? opsUrlOf(config), config.opsToken, timeoutMs)
}

/** The ops port of a running gateway, for commands. */
export class OpsClient {
  readonly #url: string
  readonly #token: string | null
  readonly #timeoutMs: number

  /** @param url  such as http://127.0.0.1:9464 */
  constructor(url: string, token: string | null, timeoutMs = TIMEOUT_MS) {
    this.#timeoutMs = timeoutMs
    this.#url = url.replace(/\/+$/, '')
    this.#token = token
  }

  /** @throws GatewayError when no gateway answers there, or it refuses the token */
  get(path: string): Promise<OpsAnswer> {
    return this.#ask('GET', path, null)
  }

  post(path: string, body: Readonly<Record<string, unknown>>): Promise<OpsAnswer> {
    return this.#ask('POST', path, body)
  }

  /**
   * A file: the bytes of an answer with status 200; of any other its JSON.
   * @throws GatewayError also when it is larger than FILE_BYTES_MAX
   */
  async file(path: string): Promise<Uint8Array | OpsAnswer> {
    const { response, bytes } = await this.#fetch('GET', path, null, FILE_BYTES_MAX)
    return response.status === 200 ? bytes : this.#answer(response, bytes)
  }

  async #ask(method: string, path: string, body: object | null): Promise<OpsAnswer> {
    const { response, bytes } = await this.#fetch(method, path, body, BODY_BYTES_MAX)
    return this.#answer(response, bytes)
  }

  async #fetch(
    method: string,
    path: string,
    body: object | null,
    bytesMax: number,
  ): Promise<{ readonly response: Response; readonly bytes: Uint8Array }> {
    let bytes
    let response
    try {
      response = await fetch(this.#url + path, {
        method,
        redirect: 'error',
        signal: AbortSignal.timeout(this.#timeoutMs),
        headers: {
          ...(this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }),
          'content-type': 'application/json',
        },
        body: body === null ? null : JSON.stringify(body),
      })
      bytes =
        Number(response.headers.get('content-length')) > bytesMax ? null : new Uint8Array(await response.arrayBuffer())
    } catch (thrown) {
      const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause.message : messageOf(thrown)
      throw new GatewayError('CALL_FAULT', `no gateway answers at ${this.#url} (--ops-url): ${cause}`)
    }
    if (bytes === null || bytes.length > bytesMax)
      throw new GatewayError('CALL_FAULT', `the answer to ${path} is larger than ${bytesMax} bytes`)
    return { response, bytes }
  }

  #answer(response: Response, bytes: Uint8Array): OpsAnswer {
    const value = objectOf(new TextDecoder().decode(bytes))
    if (value === null)
      throw new GatewayError(
        'CALL_FAULT',
        `${this.#url} answered ${response.status} without JSON; allowed: the address of a gateway's ops port (--ops-url)`,
      )
    if (response.status === 401 || response.status === 403) throw refusalOf(value, response.status)
    return { status: response.status, body: value }
  }
}

/** The gateway's refusal as an error. */
export function refusalOf(body: Readonly<Record<string, unknown>>, status: number): GatewayError {
  const error = body['error'] as { code?: unknown; message?: unknown } | undefined
  const code = typeof error?.code === 'string' ? error.code : 'CALL_FAULT'
  const message = typeof error?.message === 'string' ? error.message : `the gateway answered ${status}`
  return new GatewayError('CALL_FAULT', `${code}: ${message}`)
}

function objectOf(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : null
  } catch {
    return null
  }
}
