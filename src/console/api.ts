import type { Session } from '../edge/ops/ops-session.js'
import { useEffect, useRef, useState } from 'preact/hooks'

/** Text of a fault, as a note on the page shows it. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown))

/** Error for an answer of the gateway that is not a success. `status` is 0 if the gateway did not answer. */
export class ApiFault extends Error {
  readonly status: number
  /** Code of the gateway; null if another server answered. */
  readonly code: string | null
  /** JSON of the answer; null if the answer is not JSON. */
  readonly body: unknown

  constructor(status: number, message: string, code: string | null = null, body: unknown = null) {
    super(message)
    this.status = status
    this.code = code
    this.body = body
  }
}

/** Called if an answer shows that the session has ended. */
let onSessionOver: () => void = () => undefined
export function whenSessionIsOver(listener: () => void): void {
  onSessionOver = listener
}

async function ask(path: string, init: RequestInit): Promise<Response> {
  let response: Response
  try {
    response = await fetch(path, { credentials: 'same-origin', ...init })
  } catch {
    throw new ApiFault(0, 'the gateway does not answer')
  }
  if (response.ok) return response
  if (response.status === 401 && path !== '/api/login') onSessionOver()
  throw await faultOf(response)
}

async function faultOf(response: Response): Promise<ApiFault> {
  const { status } = response
  try {
    const body = (await response.json()) as { error?: { message?: unknown; code?: unknown } }
    const { error } = body
    const code = typeof error?.code === 'string' ? error.code : null
    const message = typeof error?.message === 'string' ? error.message : `the gateway answered ${status}`
    return new ApiFault(status, message, code, body)
  } catch {
    // an empty answer or a proxy's page, so the fault is described by the status
  }
  return new ApiFault(status, `the gateway answered ${status}`)
}

/** @throws ApiFault */
export async function getJson<T>(path: string): Promise<T> {
  return (await (await ask(path, {})).json()) as T
}

/** @throws ApiFault */
export async function getBytes(path: string): Promise<ArrayBuffer> {
  return (await ask(path, {})).arrayBuffer()
}

/**
 * @returns the JSON of the answer; null if the answer is not JSON
 * @throws ApiFault
 */
export async function post(path: string, body: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
  const headers = { 'Content-Type': 'application/json' }
  const response = await ask(path, { method: 'POST', headers, body: JSON.stringify(body) })
  return response.status === 204 ? null : ((await response.json()) as unknown)
}

/** @throws ApiFault */
export async function postForBytes(path: string, body: Readonly<Record<string, unknown>>): Promise<ArrayBuffer> {
  const headers = { 'Content-Type': 'application/json' }
  return (await ask(path, { method: 'POST', headers, body: JSON.stringify(body) })).arrayBuffer()
}

export function callPath(sid: string, rest = ''): string {
  return `/api/calls/${encodeURIComponent(sid)}${rest}`
}

/** State of a request: no result yet, a value, or a fault. */
export interface Loaded<T> {
  readonly value: T | null
  readonly fault: string | null
  /** Code of `fault`; null if the fault has no code. */
  readonly code: string | null
  readonly again: () => void
}

/**
 * Fetches JSON when the component appears, and again at each call of `again`.
 * @param everyMs interval in ms of additional requests while the page is visible
 */
export function useJson<T>(path: string, everyMs: number | null = null): Loaded<T> {
  const [value, setValue] = useState<T | null>(null)
  const [fault, setFault] = useState<Error | null>(null)
  const [asked, setAsked] = useState(0)
  useEffect(() => {
    let current = true
    getJson<T>(path).then(
      (got) => {
        if (!current) return
        setValue(got)
        setFault(null)
      },
      (thrown: unknown) => {
        if (current) setFault(thrown instanceof Error ? thrown : new Error(String(thrown)))
      },
    )
    return () => {
      current = false
    }
  }, [path, asked])
  const again = (): void => setAsked((n) => n + 1)
  useEffect(() => {
    if (everyMs === null) return undefined
    const timer = setInterval(() => {
      if (!document.hidden) again()
    }, everyMs)
    return () => clearInterval(timer)
  }, [])
  return { value, fault: fault?.message ?? null, code: fault instanceof ApiFault ? fault.code : null, again }
}

const RECONNECT_MS = 1500

/**
 * Receives server-sent events. A broken stream is opened again and then begins with the whole state. After one of the
 * events in `last` it stays closed. A hidden tab closes its stream, because browsers allow only six connections to one
 * origin for all tabs together.
 * @returns true if the stream is connected; null before the first connection
 */
export function useEvents(
  path: string | null,
  on: Readonly<Record<string, (data: unknown) => void>>,
  last: readonly string[] = [],
): boolean | null {
  const [connected, setConnected] = useState<boolean | null>(null)
  const handlers = useRef(on)
  handlers.current = on
  const names = Object.keys(on).join(' ')
  const lastNames = last.join(' ')
  useEffect(() => {
    if (path === null) return undefined
    let source: EventSource | null = null
    let timer = 0
    let over = false
    const open = (): void => {
      if (over || document.hidden || source !== null) return
      const opened = new EventSource(path)
      source = opened
      opened.addEventListener('open', () => setConnected(true))
      for (const name of names.split(' ')) {
        opened.addEventListener(name, (event: MessageEvent<string>) => {
          if (lastNames.split(' ').includes(name)) {
            over = true
            opened.close()
          }
          handlers.current[name]?.(JSON.parse(event.data))
        })
      }
      opened.addEventListener('error', () => {
        setConnected(false)
        // The browser opens a broken stream again itself, but not a stream that was refused.
        if (opened.readyState !== EventSource.CLOSED || source !== opened) return
        source = null
        getJson<Session>('/api/session').then(
          ({ rights }) => {
            if (rights === null) onSessionOver()
          },
          () => undefined, // the gateway does not answer, so the next try fails too
        )
        timer = window.setTimeout(open, RECONNECT_MS)
      })
    }
    const shown = (): void => {
      if (!document.hidden) return open()
      source?.close()
      source = null
    }
    open()
    document.addEventListener('visibilitychange', shown)
    return () => {
      document.removeEventListener('visibilitychange', shown)
      window.clearTimeout(timer)
      source?.close()
    }
  }, [path, names, lastNames])
  return connected
}
