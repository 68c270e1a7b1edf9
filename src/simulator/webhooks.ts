import { createHmac } from 'node:crypto'
import { messageOf } from '../core/errors.js'

/** How a webhook's body is written; the carrier was seen to use the first. */
export type BodyEncoding = 'form' | 'json'
/** `timestamped`: `t=…,v1=…` over body, dot and time. `bare`: hex over the body alone. Both are documented. */
export type SignatureForm = 'timestamped' | 'bare'

export interface WebhookOptions {
  readonly encoding: BodyEncoding
  /** Null leaves the signature out. */
  readonly secret: string | null
  readonly signature: SignatureForm
  /** The carrier gives up after this. */
  readonly timeoutMs: number
}

export interface WebhookAnswer {
  /** Null when there was no answer in time. */
  readonly status: number | null
  readonly contentType: string
  readonly body: string
  readonly ms: number
  readonly fault: string | null
}

/** Answers longer than this are cut: the PBX reads no novel. */
const ANSWER_CHARS_MAX = 256 * 1024

/** The signature header's value for a body. */
export function signBody(body: string, secret: string, form: SignatureForm, wallMs: number): string {
  if (form === 'bare') return createHmac('sha256', secret).update(body).digest('hex')
  const seconds = Math.floor(wallMs / 1000)
  // The body comes first: the reverse of what other carriers do.
  return `t=${seconds},v1=${createHmac('sha256', secret).update(`${body}.${seconds}`).digest('hex')}`
}

/** Posts one webhook. Never throws: what goes wrong is part of the answer, as the carrier has to live with it. */
export async function postWebhook(url: string, fields: Readonly<Record<string, string>>, options: WebhookOptions): Promise<WebhookAnswer> {
  const isJson = options.encoding === 'json'
  const body = isJson ? JSON.stringify(fields) : new URLSearchParams(fields).toString()
  return postBody(url, body, isJson ? 'application/json' : 'application/x-www-form-urlencoded', fields['callSessionState'] ?? '', options)
}

/** Posts an event in the carrier's envelope; these are always JSON. */
export function postEnvelope(url: string, envelope: { readonly kind: string } & Readonly<Record<string, unknown>>, options: WebhookOptions): Promise<WebhookAnswer> {
  return postBody(url, JSON.stringify(envelope), 'application/json', envelope.kind, options)
}

async function postBody(url: string, body: string, contentType: string, event: string, options: WebhookOptions): Promise<WebhookAnswer> {
  const headers: Record<string, string> = { 'content-type': contentType }
  if (options.secret !== null) {
    headers['x-sautikit-signature'] = signBody(body, options.secret, options.signature, Date.now())
    if (options.signature === 'bare') headers['x-sautikit-event'] = event
  }
  const startedMs = performance.now()
  try {
    const response = await fetch(url, { method: 'POST', headers, body, redirect: 'error', signal: AbortSignal.timeout(options.timeoutMs) })
    const text = (await response.text()).slice(0, ANSWER_CHARS_MAX)
    return { status: response.status, contentType: response.headers.get('content-type') ?? '', body: text, ms: performance.now() - startedMs, fault: null }
  } catch (thrown) {
    const cause = thrown instanceof Error && thrown.cause !== undefined ? `: ${messageOf(thrown.cause)}` : ''
    return { status: null, contentType: '', body: '', ms: performance.now() - startedMs, fault: `${messageOf(thrown)}${cause}` }
  }
}
