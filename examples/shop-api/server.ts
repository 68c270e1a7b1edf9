import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { ShopData } from './data.js'
import { DEMO_DATA } from './data.js'
import { Shop } from './shop.js'

const BODY_BYTES_MAX = 16 * 1024
const URL_CHARS_MAX = 2048
const REQUEST_TIMEOUT_MS = 5000

interface ShopApiOptions {
  /** 0 means any free port. */
  readonly port?: number
  readonly host?: string
  readonly data?: ShopData
}

interface ShopApi {
  /** For `SHOP_API_URL`. */
  readonly url: string
  close(): Promise<void>
}

/** An answer, or the refusal of a request. */
interface Answer {
  readonly status: number
  readonly body: unknown
  readonly headers?: Readonly<Record<string, string>>
}

const refuse = (status: number, error: string): Answer => ({ status, body: { error } })

/** Starts the demo shop's HTTP API. Resolves when it listens; rejects if the port is in use. */
export async function startShopApi(options: ShopApiOptions = {}): Promise<ShopApi> {
  const shop = new Shop(options.data ?? DEMO_DATA)
  const server = createServer(
    {
      requestTimeout: REQUEST_TIMEOUT_MS,
      headersTimeout: REQUEST_TIMEOUT_MS,
    },
    (request, response) => {
      answer(shop, request).then(
        (result) => {
          send(response, result)
        },
        () => {
          send(response, refuse(500, 'internal error'))
        },
      )
    },
  )
  const host = options.host ?? '127.0.0.1'
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(options.port ?? 0, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
  const { port } = server.address() as AddressInfo // a TCP server's address when it listens
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${port}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => {
          resolve()
        })
        server.closeAllConnections()
      }),
  }
}

async function answer(shop: Shop, request: IncomingMessage): Promise<Answer> {
  const target = request.url ?? '/'
  if (target.length > URL_CHARS_MAX) return refuse(414, 'the URL is too long')
  const base = 'http://shop'
  if (!URL.canParse(target, base)) return refuse(400, 'the URL cannot be read')
  const { pathname, searchParams } = new URL(target, base)
  switch (`${request.method ?? ''} ${pathname}`) {
    case 'GET /healthz':
      return { status: 200, body: { ok: true } }
    case 'GET /api/orders':
      return orders(shop, searchParams)
    case 'GET /api/accounts':
      return byPhone(searchParams, (phone) => shop.account(phone))
    case 'GET /api/accounts/verification':
      return byPhone(searchParams, (phone) => shop.verification(phone))
    case 'GET /api/plans':
      return { status: 200, body: { plans: shop.plans } }
    case 'GET /api/outages':
      return outage(shop, searchParams)
    case 'GET /api/products':
      return products(shop, searchParams)
    case 'POST /api/orders/reschedule':
      return reschedule(shop, request)
    case 'POST /api/tickets':
      return ticket(shop, request)
    default: {
      const allowed = {
        '/api/orders': 'GET',
        '/api/accounts': 'GET',
        '/api/accounts/verification': 'GET',
        '/api/plans': 'GET',
        '/api/outages': 'GET',
        '/api/products': 'GET',
        '/api/orders/reschedule': 'POST',
        '/api/tickets': 'POST',
        '/healthz': 'GET',
      }[pathname]
      if (allowed === undefined) return refuse(404, 'no such path')
      return { ...refuse(405, `use ${allowed}`), headers: { allow: allowed } }
    }
  }
}

/** Returns one order by its number, or the orders of a phone. */
function orders(shop: Shop, query: URLSearchParams): Answer {
  const orderNumber = query.get('order_number')?.trim()
  if (orderNumber !== undefined && orderNumber !== '') {
    const found = shop.order(orderNumber)
    if (found === undefined) return refuse(404, 'no such order')
    // The number of an order gives access to its status, but not to the customer's data.
    const { phone: _phone, ...visible } = found
    return { status: 200, body: visible }
  }
  const phone = query.get('phone')
  if (phone === null || !/\d/.test(phone)) return refuse(400, 'order_number or phone is needed')
  return { status: 200, body: { orders: shop.ordersOf(phone).map(({ phone: _phone, ...visible }) => visible) } }
}

/** Answers a request about the account of a phone. */
function byPhone(query: URLSearchParams, find: (phone: string) => unknown): Answer {
  const phone = query.get('phone')
  if (phone === null || !/\d/.test(phone)) return refuse(400, 'phone is needed')
  const found = find(phone)
  return found === undefined ? refuse(404, 'no account has this phone') : { status: 200, body: found }
}

/** Returns the outage in an area, or in the area of a phone's owner. No other data of the owner is returned. */
function outage(shop: Shop, query: URLSearchParams): Answer {
  const [area, phone] = [query.get('area'), query.get('phone')]
  if ((area === null || area.trim() === '') && (phone === null || !/\d/.test(phone)))
    return refuse(400, 'area or phone is needed')
  const found = area !== null && area.trim() !== '' ? shop.outage(area) : shop.outageOf(phone ?? '')
  return { status: 200, body: found === undefined ? { active: false } : { active: true, ...found } }
}

function products(shop: Shop, query: URLSearchParams): Answer {
  const words = query.get('query')
  if (words === null || words.trim() === '') return refuse(400, 'query is needed')
  return { status: 200, body: { products: shop.products(words) } }
}

const RESCHEDULE_REFUSALS = {
  unknown: refuse(404, 'this phone has no such order'),
  finished: refuse(409, 'the order is delivered or cancelled'),
  'closed-then': refuse(422, 'time must be from 08:00 to 18:00'),
  conflict: refuse(409, 'this Idempotency-Key belongs to another request'),
}

async function reschedule(shop: Shop, request: IncomingMessage): Promise<Answer> {
  const posted = await postOf(request)
  if ('status' in posted) return posted
  const { order_number: orderNumber, phone, date, time } = posted.value
  if (!isText(orderNumber, 20)) return refuse(422, 'order_number must be a text of 1 to 20 characters')
  if (!isText(phone, 20) || !/\d/.test(phone)) return refuse(422, 'phone must be a phone number')
  if (!isText(date, 10) || !/^\d{4}-\d\d-\d\d$/.test(date) || Number.isNaN(Date.parse(date)))
    return refuse(422, 'date must be a day, such as 2026-11-27')
  if (!isText(time, 5) || !/^([01]\d|2[0-3]):[0-5]\d$/.test(time)) return refuse(422, 'time must be HH:MM')
  const done = shop.reschedule(posted.key, { orderNumber, phone, date, time })
  return typeof done === 'string' ? RESCHEDULE_REFUSALS[done] : { status: 200, body: done }
}

/** Returns the body and the key of a request that may have an effect, or the refusal of the request. */
async function postOf(
  request: IncomingMessage,
): Promise<Answer | { readonly key: string; readonly value: Readonly<Record<string, unknown>> }> {
  if (!/^application\/json\b/i.test(request.headers['content-type'] ?? '')) return refuse(415, 'send application/json')
  const key = request.headers['idempotency-key']
  if (typeof key !== 'string' || !/^[\x21-\x7e]{1,200}$/.test(key)) {
    return refuse(400, 'header Idempotency-Key is needed, 1 to 200 visible characters')
  }
  const body = await readJson(request)
  return 'status' in body ? body : { key, value: body.value }
}

async function ticket(shop: Shop, request: IncomingMessage): Promise<Answer> {
  const posted = await postOf(request)
  if ('status' in posted) return posted
  const { key } = posted
  const { phone, subject, details } = posted.value
  if (!isText(phone, 20) || !/\d/.test(phone)) return refuse(422, 'phone must be a phone number')
  if (!isText(subject, 200)) return refuse(422, 'subject must be a text of 1 to 200 characters')
  if (details !== undefined && !isText(details, 4000)) {
    return refuse(422, 'details must be a text of 1 to 4000 characters')
  }
  const opened = shop.openTicket(key, { phone, subject, details: details ?? '' })
  if (opened === 'conflict') return refuse(409, 'this Idempotency-Key belongs to another request')
  return { status: opened.created ? 201 : 200, body: opened.ticket }
}

function isText(value: unknown, charsMax: number): value is string {
  return typeof value === 'string' && value.trim() !== '' && value.length <= charsMax
}

/** Returns the body as an object, or the refusal of the body. */
async function readJson(
  request: IncomingMessage,
): Promise<Answer | { readonly value: Readonly<Record<string, unknown>> }> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length
    // The loop continues to read and discards the data: leaving it would close the socket before the refusal is sent.
    if (bytes <= BODY_BYTES_MAX) chunks.push(chunk)
  }
  if (bytes > BODY_BYTES_MAX) return refuse(413, `the body is larger than ${BODY_BYTES_MAX} bytes`)
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString('utf8'))
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return refuse(422, 'the body must be a JSON object')
    }
    return { value: value as Readonly<Record<string, unknown>> } // an object, because of the check above
  } catch {
    return refuse(400, 'the body is not JSON')
  }
}

function send(response: ServerResponse, { status, body, headers }: Answer): void {
  const text = JSON.stringify(body)
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
    ...headers,
  })
  response.end(text)
}
