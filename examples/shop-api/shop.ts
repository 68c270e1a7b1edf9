import type { Account, Order, Outage, Plan, Product, ShopData, Ticket } from './data.js'

/** Maximum numbers of stored tickets and of stored answers to POSTs. The oldest are removed first. */
const TICKETS_MAX = 1000
const ANSWERS_MAX = 1000

/** Maximum number of products in a search's answer. */
const PRODUCTS_FOUND_MAX = 5

/** When couriers drive. */
const DELIVERY_FROM = '08:00'
const DELIVERY_TO = '18:00'

const OPEN: readonly Order['status'][] = ['processing', 'packed', 'out_for_delivery', 'delayed']

/** Phones are compared by their digits: +254 700 000 001, 00254700000001 and 254700000001 are the same number. */
function digitsOf(phone: string): string {
  const digits = phone.replace(/\D/g, '')
  return digits.startsWith('00') ? digits.slice(2) : digits
}

/** An account as its owner may see it. */
interface AccountView extends Omit<Account, 'security'> {
  /** Owed amount; 0 if there is none. */
  readonly owedKes: number
  readonly openTickets: readonly Ticket[]
  /** An outage that this customer notices, or null. */
  readonly outage: Outage | null
}

/** The shop's data, which the HTTP API reads and changes. */
export class Shop {
  readonly #orders: readonly Order[]
  readonly #accounts: readonly Account[]
  readonly #outages: readonly Outage[]
  readonly plans: readonly Plan[]
  readonly #tickets: Ticket[]
  readonly #products: readonly Product[]
  /** Answers to earlier POSTs by Idempotency-Key, each with its request. */
  readonly #byKey = new Map<string, { readonly request: string; readonly answer: unknown }>()
  #lastTicket: number

  constructor(data: ShopData) {
    this.#orders = data.orders
    this.#accounts = data.accounts
    this.#outages = data.outages
    this.plans = data.plans
    this.#products = data.products
    this.#tickets = [...data.tickets]
    this.#lastTicket = Math.max(500, ...data.tickets.map((ticket) => Number(ticket.ticketId.replace(/\D/g, '')) || 0))
  }

  order(orderNumber: string): Order | undefined {
    return this.#orders.find((order) => order.orderNumber === orderNumber)
  }

  /** Open orders of a phone; if there are none, the delivered and cancelled orders. */
  ordersOf(phone: string): readonly Order[] {
    const digits = digitsOf(phone)
    const all = this.#orders.filter((order) => digitsOf(order.phone) === digits)
    const open = all.filter((order) => OPEN.includes(order.status))
    return open.length > 0 ? open : all
  }

  account(phone: string): AccountView | undefined {
    const account = this.#accountOf(phone)
    if (account === undefined) return undefined
    const { security: _security, ...visible } = account
    const digits = digitsOf(phone)
    const openTickets = this.#tickets.filter((ticket) => digitsOf(ticket.phone) === digits && ticket.status === 'open')
    return {
      ...visible,
      owedKes: Math.max(0, -account.balanceKes),
      openTickets,
      outage: this.outage(account.area) ?? null,
    }
  }

  /** The data that is compared with a caller's answers. */
  verification(phone: string): Pick<Account, 'accountId' | 'phone' | 'name' | 'vip' | 'security'> | undefined {
    const account = this.#accountOf(phone)
    if (account === undefined) return undefined
    const { accountId, name, vip, security } = account
    return { accountId, phone: account.phone, name, vip, security }
  }

  outage(area: string): Outage | undefined {
    return this.#outages.find((outage) => outage.area.toLowerCase() === area.trim().toLowerCase())
  }

  /** Outage in the area of a phone's owner. */
  outageOf(phone: string): Outage | undefined {
    const account = this.#accountOf(phone)
    return account === undefined ? undefined : this.outage(account.area)
  }

  #accountOf(phone: string): Account | undefined {
    const digits = digitsOf(phone)
    return this.#accounts.find((candidate) => digitsOf(candidate.phone) === digits)
  }

  /**
   * Opens a ticket, once for each key.
   * @returns `conflict` if the key was used for another request
   */
  openTicket(
    key: string,
    fields: Pick<Ticket, 'phone' | 'subject' | 'details'>,
  ): { ticket: Ticket; created: boolean } | 'conflict' {
    const done = this.#once(key, ['ticket', fields.phone, fields.subject, fields.details], () => {
      this.#lastTicket += 1
      const ticket: Ticket = { ticketId: `T-${this.#lastTicket}`, ...fields, status: 'open' }
      this.#tickets.push(ticket)
      if (this.#tickets.length > TICKETS_MAX) this.#tickets.shift()
      return ticket
    })
    return done === 'conflict' ? done : { ticket: done.answer, created: done.created }
  }

  /**
   * Requests another delivery time, once for each key. The order does not change until a courier has agreed.
   * @returns the reason of a refusal; `unknown` if the phone has no such order
   */
  reschedule(
    key: string,
    fields: { readonly orderNumber: string; readonly phone: string; readonly date: string; readonly time: string },
  ):
    | { readonly requested: true; readonly orderNumber: string; readonly date: string; readonly time: string }
    | 'unknown'
    | 'finished'
    | 'closed-then'
    | 'conflict' {
    const { orderNumber, phone, date, time } = fields
    const order = this.order(orderNumber)
    if (order === undefined || digitsOf(order.phone) !== digitsOf(phone)) return 'unknown'
    if (!OPEN.includes(order.status)) return 'finished'
    if (time < DELIVERY_FROM || time > DELIVERY_TO) return 'closed-then'
    const done = this.#once(key, ['reschedule', orderNumber, phone, date, time], () => ({
      requested: true as const,
      orderNumber,
      date,
      time,
    }))
    return done === 'conflict' ? done : done.answer
  }

  /** Returns the products that a caller's words name. The products with the most matching words are first. */
  products(query: string): readonly Pick<Product, 'name' | 'priceKes'>[] {
    const words = ` ${
      query
        .toLowerCase()
        .match(/\p{L}+/gu)
        ?.join(' ') ?? ''
    } `
    return this.#products
      .flatMap(({ name, also, priceKes }) => {
        const named = [name, ...also].filter((one) => words.includes(` ${one} `))
        return named.length === 0 ? [] : [{ name, priceKes, chars: Math.max(...named.map((one) => one.length)) }]
      })
      .sort((a, b) => b.chars - a.chars)
      .slice(0, PRODUCTS_FOUND_MAX)
      .map(({ name, priceKes }) => ({ name, priceKes }))
  }

  /**
   * Runs an action once for each key.
   * @returns `conflict` if the key was used for another request
   */
  #once<T>(
    key: string,
    fields: readonly string[],
    make: () => T,
  ): { readonly answer: T; readonly created: boolean } | 'conflict' {
    const request = JSON.stringify(fields)
    const earlier = this.#byKey.get(key)
    // The same request always has an answer of the same type.
    if (earlier !== undefined)
      return earlier.request === request ? { answer: earlier.answer as T, created: false } : 'conflict'
    const answer = make()
    this.#byKey.set(key, { request, answer })
    const [oldestKey] = this.#byKey.keys()
    if (this.#byKey.size > ANSWERS_MAX && oldestKey !== undefined) this.#byKey.delete(oldestKey)
    return { answer, created: true }
  }
}
