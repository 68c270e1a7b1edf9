import type { Session } from '../edge/ops/ops-session.js'
import { useEffect, useRef, useState } from 'preact/hooks'

/** The words of a fault, for a note on the page. */
export const messageOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown))

/** An answer of the gateway that is no success; `status` 0: it did not answer. */
export class ApiFault extends Error {
  readonly status: number
  /** The gateway's own; null for an answer that is none of its. */
  readonly code: string | null

  constructor(status: number, message: string, code: string | null = null) {
    super(message)
    this.status = status
    this.code = code
  }
}

/** Called when an answer says that the session is over. */
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
    const { error } = (await response.json()) as { error?: { message?: unknown; code?: unknown } }
    if (typeof error?.message === 'string')
      return new ApiFault(status, error.message, typeof error.code === 'string' ? error.code : null)
  } catch {
    // a proxy's page, or nothing: the status says what there is to say
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

/** @returns the JSON of the answer; null where it has none. @throws ApiFault */
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

/** Result of a request: nothing yet, a value, or a fault. */
export interface Loaded<T> {
  readonly value: T | null
  readonly fault: string | null
  /** The code of `fault`; null where it has none. */
  readonly code: string | null
  readonly again: () => void
}

/** Fetches JSON, and again when asked to. @param everyMs  also this often, while the page is looked at */
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
 * Follows server-sent events, for ever: a stream that breaks is opened again, and then begins with everything. A stream
 * that ended with `last` is over. A hidden tab has none: browsers open six connections to one origin, of all tabs.
 * @returns whether it is connected; null before the first time
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
        // The browser tries again by itself only where the connection broke, not where it was refused.
        if (opened.readyState !== EventSource.CLOSED || source !== opened) return
        source = null
        getJson<Session>('/api/session').then(
          ({ rights }) => {
            if (rights === null) onSessionOver()
          },
          () => undefined, // not there: the next try says so again
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
