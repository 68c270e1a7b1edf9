import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** The payer's action at the prompt, or its outcome. */
export type Payer =
  | 'pays'
  | 'cancels'
  | 'has-too-little'
  | 'mistypes-the-pin'
  /** The payer does not answer the prompt, or the phone is off. M-Pesa reports that the prompt has expired. */
  | 'is-not-reached'
  /** There is no callback, and the query does not have an outcome either. */
  | 'does-nothing'
  /** The payer pays, and the callback is lost. Only the query returns the outcome. */
  | 'pays-unheard'
  /** The callback comes before the answer to the request. */
  | 'pays-before-the-answer'
  /** The callback comes twice. */
  | 'pays-and-is-told-twice'

interface DarajaOptions {
  /** Actions by the payer's number, `2547…`. */
  readonly payer: (phone: string) => Payer
  /** Time from the prompt to the PIN. */
  readonly pinMs: number
}

interface Push {
  readonly phone: string
  readonly amount: number
  readonly callbackUrl: string
  readonly merchantId: string
  /** Null until the outcome is final. */
  result: { readonly code: number; readonly words: string } | null
}

const OUTCOMES: Readonly<Record<Payer, { readonly code: number; readonly words: string } | null>> = {
  pays: { code: 0, words: 'The service request is processed successfully.' },
  'pays-unheard': { code: 0, words: 'The service request is processed successfully.' },
  'pays-before-the-answer': { code: 0, words: 'The service request is processed successfully.' },
  'pays-and-is-told-twice': { code: 0, words: 'The service request is processed successfully.' },
  cancels: { code: 1032, words: 'Request cancelled by user' },
  'has-too-little': { code: 1, words: 'The balance is insufficient for the transaction.' },
  'mistypes-the-pin': { code: 2001, words: 'The initiator information is invalid.' },
  'is-not-reached': { code: 1037, words: 'DS timeout user cannot be reached.' },
  'does-nothing': null,
}

/**
 * A double of the STK push of Daraja, M-Pesa's API: token, push, callback and query, as far as `pay.ts` uses them.
 * The payer's number determines the payer's action.
 */
export async function startDarajaDouble({ payer, pinMs }: DarajaOptions): Promise<{
  readonly url: string
  /** Prompts that were shown on phones, by number. */
  readonly prompts: readonly string[]
  close(): Promise<void>
}> {
  const pushes = new Map<string, Push>()
  const prompts: string[] = []
  const abort = new AbortController()

  const callback = async (id: string, { callbackUrl, merchantId, amount, phone, result }: Push): Promise<void> => {
    if (result === null) return
    const metadata = [
      { Name: 'Amount', Value: amount },
      { Name: 'MpesaReceiptNumber', Value: 'SKQ7H1XT5B' },
      { Name: 'TransactionDate', Value: 20261126101530 },
      { Name: 'PhoneNumber', Value: Number(phone) },
    ]
    const stkCallback = {
      MerchantRequestID: merchantId,
      CheckoutRequestID: id,
      ResultCode: result.code,
      ResultDesc: result.words,
      ...(result.code === 0 ? { CallbackMetadata: { Item: metadata } } : {}),
    }
    const body = JSON.stringify({ Body: { stkCallback } })
    const headers = { 'content-type': 'application/json' }
    await fetch(callbackUrl, { method: 'POST', headers, body, signal: abort.signal }).catch(() => undefined) // it may be lost
  }

  const prompt = async (id: string, push: Push, does: Payer): Promise<void> => {
    prompts.push(push.phone)
    if (does !== 'pays-before-the-answer') await sleep(pinMs, undefined, { signal: abort.signal })
    push.result = OUTCOMES[does]
    if (does === 'pays-unheard') return
    await callback(id, push)
    if (does === 'pays-and-is-told-twice') await callback(id, push)
  }

  const answer = async (request: IncomingMessage): Promise<{ readonly status: number; readonly body: object }> => {
    const path = (request.url ?? '').split('?')[0]
    const auth = request.headers.authorization ?? ''
    if (path === '/oauth/v1/generate')
      return auth.startsWith('Basic ')
        ? { status: 200, body: { access_token: 'double', expires_in: '3599' } }
        : { status: 400, body: { errorCode: '400.008.01', errorMessage: 'Invalid Authentication passed' } }
    if (auth !== 'Bearer double')
      return { status: 401, body: { errorCode: '404.001.03', errorMessage: 'Invalid Access Token' } }
    const body = JSON.parse(await textOf(request)) as Readonly<Record<string, unknown>>
    if (path === '/mpesa/stkpushquery/v1/query') {
      const result = pushes.get(String(body['CheckoutRequestID']))?.result ?? null
      return result === null
        ? { status: 500, body: { errorCode: '500.001.1001', errorMessage: 'The transaction is being processed' } }
        : { status: 200, body: { ResponseCode: '0', ResultCode: String(result.code), ResultDesc: result.words } }
    }
    const phone = String(body['PhoneNumber'])
    const amount = Number(body['Amount'])
    if (!/^254[71]\d{8}$/.test(phone) || !Number.isInteger(amount) || amount < 1)
      return { status: 400, body: { errorCode: '400.002.02', errorMessage: 'Bad Request - Invalid PhoneNumber' } }
    const id = `ws_CO_${randomUUID()}`
    const does = payer(phone)
    const merchantId = randomUUID()
    const push: Push = { phone, amount, callbackUrl: String(body['CallBackURL']), merchantId, result: null }
    pushes.set(id, push)
    const prompted = prompt(id, push, does).catch(() => undefined) // the double is closed
    if (does === 'pays-before-the-answer') await prompted
    const words = 'Success. Request accepted for processing'
    return {
      status: 200,
      body: { MerchantRequestID: merchantId, CheckoutRequestID: id, ResponseCode: '0', ResponseDescription: words },
    }
  }

  const server = createServer((request, response) => {
    answer(request).then(
      ({ status, body }) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      () => response.writeHead(500).end(),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, // a TCP server's address when it listens
    prompts,
    close: () => {
      abort.abort()
      server.closeAllConnections()
      return new Promise((resolve) => server.close(() => resolve()))
    },
  }
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = ''
  for await (const chunk of request) text += String(chunk)
  return text
}
