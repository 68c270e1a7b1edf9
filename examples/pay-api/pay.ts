import { randomInt, timingSafeEqual } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Webhook } from 'standardwebhooks'

/** Maximum size of a body, and maximum numbers of stored payments and codes. */
const BODY_BYTES_MAX = 16 * 1024
const PAYMENTS_MAX = 10_000
const CODES_MAX = 10_000
/** Time in s for an answer to a prompt. The phone closes the prompt after about a minute. */
const PROMPT_S = 90
/** Maximum time in ms for posting an outcome until the gateway answers, and minimum pause in ms between two tries. */
const TELL_WITHIN_MS = 15 * 60_000
const TELL_AGAIN_MS = 2000
/** SMS codes. */
const CODE_MS = 5 * 60_000
const CODE_TRIES = 3
const RESEND_MS = 30_000

interface PayApiOptions {
  /** 0 (default) means any free port. */
  readonly port?: number
  readonly host?: string
  /** Address at which Daraja's callbacks reach this API. Default: its own address. */
  readonly publicUrl?: string
  readonly daraja: {
    readonly url: string
    readonly key: string
    readonly secret: string
    readonly shortCode: string
    readonly passKey: string
  }
  /**
   * Price of an order, in whole shillings; undefined if the order does not exist. The model does not choose the
   * price.
   */
  readonly priceOf: (order: string) => number | undefined
  /** The open order of a number; undefined if there is none. */
  readonly orderOf: (phone: string) => string | undefined
  /** Sends a text message. Only this message contains the code. */
  readonly sms: (phone: string, text: string) => void
  /** Returns a code of six digits. Default: a random code. For demos and tests. */
  readonly newCode?: () => string
  /** Default: TELL_AGAIN_MS. For tests. */
  readonly tellAgainMs?: number
  /** `whsec_…` of CONTINUE_SECRETS. Default: posts are not signed. */
  readonly continueSecret?: string
}

/** Result codes after which the same push may be sent again, each with an instruction for the model. */
const CODES: Readonly<Record<number, string>> = {
  0: 'It is paid.',
  1: 'There is too little money. Offer another time or another number.',
  17: 'The system failed. Try once more after half a minute.',
  26: 'The system is busy. Try once more after half a minute.',
  1001: 'Another transaction runs on that phone. Wait two minutes.',
  1019: 'It has expired. Offer it once more.',
  1025: 'The system failed. Try once more after half a minute.',
  1032: 'The payer cancelled it. Ask whether to send it again.',
  1037: 'The phone was not reached. Ask whether it is on and unlocked.',
  2001: 'The PIN was wrong. Never ask for it.',
  9999: 'The system failed. Try once more after half a minute.',
}

interface Outcome {
  readonly status: 'succeeded' | 'failed'
  readonly result: {
    readonly code: number
    readonly amount: number
    readonly receipt?: string
    readonly advice: string
  }
}

interface Payment {
  readonly key: string
  readonly order: string
  readonly amount: number
  readonly continueUrl: string
  outcome: Outcome | null
}

interface Answer {
  readonly status: number
  readonly body: object
}

const refuse = (status: number, error: string): Answer => ({ status, body: { error } })

/**
 * A shop's payments by M-Pesa and its SMS codes, as an agent's tools use them: a push is answered with 202, and its outcome
 * is posted to the continuation URL when Daraja's callback has come.
 */
export async function startPayApi(options: PayApiOptions): Promise<{ readonly url: string; close(): Promise<void> }> {
  const api = new PayApi(options)
  const server = createServer((request, response) => {
    api.answer(request).then(
      ({ status, body }) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      () => response.writeHead(500, { 'content-type': 'application/json' }).end('{"error":"internal error"}'),
    )
  })
  const { port = 0, host = '127.0.0.1' } = options
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, resolve)
  })
  const url = `http://${host}:${(server.address() as AddressInfo).port}` // a TCP server's address when it listens
  api.ownUrl = options.publicUrl ?? url
  return {
    url,
    close: () => {
      api.close()
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

class PayApi {
  ownUrl = ''
  readonly #options: PayApiOptions
  /** By CheckoutRequestID. */
  readonly #payments = new Map<string, Payment>()
  /** Pushes without an id, by the path of their callback: the callback may come before Daraja's answer. */
  readonly #early = new Map<string, unknown>()
  readonly #codes = new Map<string, { readonly code: string; readonly sentAtMs: number; tries: number }>()
  readonly #closing = new AbortController()
  #pushes = 0

  constructor(options: PayApiOptions) {
    this.#options = options
  }

  close(): void {
    this.#closing.abort()
  }

  async answer(request: IncomingMessage): Promise<Answer> {
    const path = (request.url ?? '').split('?')[0] ?? ''
    const [, first, second] = path.split('/')
    if (request.method === 'GET' && first === 'payments') return this.#asked(second ?? '')
    if (request.method === 'GET' && first === 'bills')
      return this.#bill(new URL(request.url ?? '', 'http://pay').searchParams.get('phone') ?? '')
    if (request.method !== 'POST') return refuse(404, 'no such path')
    const body = await readJson(request)
    if (body === null) return refuse(400, 'send a JSON object of at most 16 KiB')
    if (path === '/payments') return this.#pay(body, String(request.headers['idempotency-key'] ?? ''))
    if (first === 'callbacks' && second !== undefined) return this.#callback(second, body)
    if (path === '/codes') return this.#sendCode(String(body['call']), String(body['phone']))
    if (path === '/codes/check') return this.#checkCode(String(body['call']), String(body['code']))
    return refuse(404, 'no such path')
  }

  #bill(phone: string): Answer {
    const order = this.#options.orderOf(phone)
    const amount = order === undefined ? undefined : this.#options.priceOf(order)
    return amount === undefined ? refuse(404, 'nothing is to be paid') : { status: 200, body: { order, amount } }
  }

  // --- payments -------------------------------------------------------------------------------------------

  async #pay({ order, phone, callback }: Readonly<Record<string, unknown>>, key: string): Promise<Answer> {
    const amount = this.#options.priceOf(String(order))
    const payer = /^\+?(254[71]\d{8})$/.exec(String(phone))?.[1]
    if (amount === undefined) return refuse(404, 'there is no such order')
    if (payer === undefined) return refuse(400, 'phone must be a Kenyan mobile number')
    if (typeof callback !== 'string' || !URL.canParse(callback)) return refuse(400, 'callback must be a URL')
    const known = [...this.#payments].find(([, one]) => one.key === key)
    if (known !== undefined) return { status: 202, body: { pending: known[0], expiresInS: PROMPT_S } }
    for (const one of this.#payments.values())
      if (one.order === order && one.outcome === null) return refuse(409, 'a prompt for this order is open already')
    const path = String(++this.#pushes)
    const pushed = await this.#daraja('/mpesa/stkpush/v1/processrequest', {
      TransactionType: 'CustomerPayBillOnline',
      Amount: amount,
      PartyA: payer,
      PartyB: this.#options.daraja.shortCode,
      PhoneNumber: payer,
      CallBackURL: `${this.ownUrl}/callbacks/${path}`,
      AccountReference: String(order).slice(0, 12),
      TransactionDesc: 'Order',
    })
    const id = pushed['CheckoutRequestID']
    if (typeof id !== 'string') return refuse(502, 'M-Pesa did not take the request')
    const payment: Payment = { key, order: String(order), amount, continueUrl: callback, outcome: null }
    this.#payments.set(id, payment)
    if (this.#payments.size > PAYMENTS_MAX) this.#payments.delete(this.#payments.keys().next().value ?? '')
    const early = this.#early.get(path)
    this.#early.delete(path)
    if (early !== undefined) this.#settled(id, early)
    return { status: 202, body: { pending: id, expiresInS: PROMPT_S } }
  }

  #callback(path: string, body: Readonly<Record<string, unknown>>): Answer {
    const callback = memberOf(memberOf(body, 'Body'), 'stkCallback')
    const id = String(memberOf(callback, 'CheckoutRequestID'))
    if (this.#payments.has(id)) this.#settled(id, callback)
    else if (this.#early.size < PAYMENTS_MAX) this.#early.set(path, callback)
    return { status: 200, body: { ResultCode: 0, ResultDesc: 'Accepted' } }
  }

  /** Handles a callback, or the answer to a query. The first final outcome is used. */
  #settled(id: string, said: unknown): void {
    const payment = this.#payments.get(id)
    if (payment === undefined || payment.outcome !== null) return
    const code = Number(memberOf(said, 'ResultCode'))
    const items = memberOf(memberOf(said, 'CallbackMetadata'), 'Item')
    const receipt = (Array.isArray(items) ? (items as unknown[]) : []).find(
      (item) => memberOf(item, 'Name') === 'MpesaReceiptNumber',
    )
    payment.outcome = {
      status: code === 0 ? 'succeeded' : 'failed',
      result: {
        code,
        amount: payment.amount,
        ...(receipt === undefined ? {} : { receipt: String(memberOf(receipt, 'Value')) }),
        advice: CODES[code] ?? 'It failed.',
      },
    }
    void this.#tell(payment.continueUrl, payment.outcome)
  }

  /** For an agent that polls: asks Daraja if the callback has not come. */
  async #asked(id: string): Promise<Answer> {
    const payment = this.#payments.get(id)
    if (payment === undefined) return refuse(404, 'no such payment')
    if (payment.outcome === null) {
      const said = await this.#daraja('/mpesa/stkpushquery/v1/query', { CheckoutRequestID: id })
      if (said['ResultCode'] !== undefined) this.#settled(id, said)
    }
    return { status: 200, body: payment.outcome ?? { status: 'progress' } }
  }

  async #tell(url: string, outcome: Outcome): Promise<void> {
    const body = JSON.stringify(outcome)
    const { continueSecret, tellAgainMs = TELL_AGAIN_MS } = this.#options
    for (const untilMs = Date.now() + TELL_WITHIN_MS; Date.now() < untilMs && !this.#closing.signal.aborted;) {
      let pauseMs = tellAgainMs
      const at = new Date()
      const signed: Record<string, string> =
        continueSecret === undefined
          ? {}
          : {
              'webhook-id': url.slice(-22),
              'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
              'webhook-signature': new Webhook(continueSecret).sign(url.slice(-22), at, body),
            }
      try {
        const headers = { 'content-type': 'application/json', ...signed }
        const answer = await fetch(url, { method: 'POST', headers, body, signal: this.#closing.signal })
        if (answer.status < 500 && answer.status !== 429) return
        pauseMs = Math.max(pauseMs, Number(answer.headers.get('retry-after') ?? 0) * 1000)
      } catch {
        // The gateway cannot be reached at this moment.
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs).unref())
    }
  }

  /** @returns Daraja's answer, or `{}` if there was none */
  async #daraja(path: string, body: object): Promise<Readonly<Record<string, unknown>>> {
    const { url, key, secret, shortCode, passKey } = this.#options.daraja
    try {
      const basic = Buffer.from(`${key}:${secret}`).toString('base64')
      const { signal } = this.#closing
      const token = await fetch(`${url}/oauth/v1/generate?grant_type=client_credentials`, {
        headers: { authorization: `Basic ${basic}` },
        signal,
      })
      const { access_token } = (await token.json()) as { access_token?: string }
      const Timestamp = nairobiTime(new Date())
      const Password = Buffer.from(`${shortCode}${passKey}${Timestamp}`).toString('base64')
      const response = await fetch(`${url}${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${String(access_token)}`, 'content-type': 'application/json' },
        body: JSON.stringify({ BusinessShortCode: shortCode, Password, Timestamp, ...body }),
        signal,
      })
      return (await response.json()) as Readonly<Record<string, unknown>>
    } catch {
      return {}
    }
  }

  // --- codes ----------------------------------------------------------------------------------------------

  /**
   * Each call has one code at a time. The code stays bound to its number, so the model cannot choose another number
   * later.
   */
  #sendCode(call: string, phone: string): Answer {
    if (!/^\+?\d{9,15}$/.test(phone)) return refuse(400, 'phone must be a number')
    const before = this.#codes.get(call)
    if (before !== undefined && Date.now() - before.sentAtMs < RESEND_MS)
      return refuse(429, 'a code was sent just now; the next one in half a minute')
    const code = this.#options.newCode?.() ?? String(randomInt(1_000_000)).padStart(6, '0')
    this.#codes.delete(call)
    this.#codes.set(call, { code, sentAtMs: Date.now(), tries: 0 })
    if (this.#codes.size > CODES_MAX) this.#codes.delete(this.#codes.keys().next().value ?? '')
    this.#options.sms(phone, `Your code is ${code}. Key it in on the call. Nobody of ours asks you to say it.`)
    return { status: 200, body: { sent: true } }
  }

  #checkCode(call: string, given: string): Answer {
    const sent = this.#codes.get(call)
    if (sent === undefined || Date.now() - sent.sentAtMs > CODE_MS)
      return { status: 200, body: { right: false, reason: 'there is no code, or it is too old: send another' } }
    if (++sent.tries > CODE_TRIES) return { status: 200, body: { right: false, reason: 'too many tries' } }
    const right = given.length === sent.code.length && timingSafeEqual(Buffer.from(given), Buffer.from(sent.code))
    if (right) this.#codes.delete(call)
    return { status: 200, body: { right, ...(right ? {} : { triesLeft: CODE_TRIES - sent.tries }) } }
  }
}

/** `YYYYMMDDHHmmss` in Nairobi, which does not have summer time. */
function nairobiTime(date: Date): string {
  return new Date(date.getTime() + 3 * 3_600_000).toISOString().replace(/\D/g, '').slice(0, 14)
}

function memberOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>)[name] : undefined
}

async function readJson(request: IncomingMessage): Promise<Readonly<Record<string, unknown>> | null> {
  let text = ''
  for await (const chunk of request) {
    text += String(chunk)
    if (text.length > BODY_BYTES_MAX) return null
  }
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : null
  } catch {
    return null
  }
}
