import { pino } from 'pino'
import type { DestinationStream, Logger } from 'pino'
import { GatewayError } from '../core/errors.js'
import type { CallSid } from '../core/ids.js'
import { maskText, scrub } from './redact.js'

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const
type LogLevel = (typeof LOG_LEVELS)[number]

/** Data of a log line. A field's name ends in its unit. The message of the line is a constant sentence. */
export type LogFields = Readonly<Record<string, unknown>>

export interface LogSettings {
  readonly level: LogLevel
  /** Levels of single components, if they differ from `level`. */
  readonly components: Readonly<Record<string, LogLevel>>
}

export interface LogOptions extends Partial<LogSettings> {
  /** Destination of the log lines, each with its newline. Default: standard output. */
  readonly destination?: DestinationStream
  /** Fields of every line, for example `{ node: 'gw-1' }`. */
  readonly base?: LogFields
}

function isLogLevel(value: string): value is LogLevel {
  return (LOG_LEVELS as readonly string[]).includes(value)
}

/**
 * Reads a `LOG_LEVEL` such as `info` or `info,edge=debug,workers=trace`.
 * @throws GatewayError CONFIG_INVALID
 */
export function parseLogSettings(text: string): LogSettings {
  let level: LogLevel = 'info'
  const components: Record<string, LogLevel> = {}
  for (const part of text
    .split(',')
    .map((piece) => piece.trim())
    .filter((piece) => piece !== '')) {
    const [left = '', right] = part.split('=').map((piece) => piece.trim())
    const value = right ?? left
    if (!isLogLevel(value) || (right !== undefined && !/^[a-z][a-z-]*$/.test(left))) {
      throw new GatewayError(
        'CONFIG_INVALID',
        `LOG_LEVEL has "${maskText(part)}"; allowed: a level (${LOG_LEVELS.join(', ')}) and component=level, separated by commas`,
      )
    }
    if (right === undefined) level = value
    else components[left] = value
  }
  return { level, components }
}

/**
 * Log of a component: one JSON object per line. Fields and messages are redacted before they are written (`redact.ts`),
 * so that they contain no phone numbers, keys or callers' words.
 */
export class Log {
  readonly #pino: Logger
  readonly #settings: LogSettings
  /** Root logger, which belongs to no component. */
  readonly #root: Logger

  constructor(logger: Logger, settings: LogSettings, root = logger) {
    this.#pino = logger
    this.#settings = settings
    this.#root = root
  }

  debug(fields: LogFields, message: string): void {
    this.#write('debug', fields, message)
  }

  info(fields: LogFields, message: string): void {
    this.#write('info', fields, message)
  }

  warn(fields: LogFields, message: string): void {
    this.#write('warn', fields, message)
  }

  /** Logs an error. Put the thrown error into `fields.err`. */
  error(fields: LogFields, message: string): void {
    this.#write('error', fields, message)
  }

  fatal(fields: LogFields, message: string): void {
    this.#write('fatal', fields, message)
  }

  /**
   * Log of one component, at the component's level. The component's name is its folder (`edge`, `workers`, …), or
   * `audit` for commands of operators.
   */
  component(name: string): Log {
    const level = this.#settings.components[name] ?? this.#settings.level
    return new Log(this.#root.child({ component: name }, { level }), this.#settings, this.#root)
  }

  /** Log of one call: every line contains its `call_sid`. The given fields are serialised only once. */
  call(callSid: CallSid, fields: LogFields = {}): Log {
    const bound = { ...scrub(fields), call_sid: callSid }
    return new Log(this.#pino.child(bound), this.#settings, this.#root.child(bound))
  }

  #write(level: Exclude<LogLevel, 'silent'>, fields: LogFields, message: string): void {
    if (this.#pino.isLevelEnabled(level)) this.#pino[level](scrub(fields), maskText(message))
  }
}

/**
 * Creates the log of a process or a media worker, with the same settings. The standard output of a worker goes through
 * the main thread, line by line.
 */
export function createLog(options: LogOptions = {}): Log {
  const settings: LogSettings = { level: options.level ?? 'info', components: options.components ?? {} }
  const pinoOptions = {
    level: settings.level,
    base: scrub(options.base ?? {}),
    messageKey: 'msg',
    timestamp: pino.stdTimeFunctions.isoTime,
    serializers: { err: (error: unknown) => error }, // the errors that pino gets are plain objects and masked
    formatters: { level: (label: string) => ({ level: label }) },
  }
  const logger = options.destination === undefined ? pino(pinoOptions) : pino(pinoOptions, options.destination)
  return new Log(logger, settings)
}
