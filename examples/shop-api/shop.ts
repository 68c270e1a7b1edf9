import type { Account, Order, Outage, Plan, ShopData, Ticket } from './data.js'

/** Tickets that are kept; the oldest go first. */
const TICKETS_MAX = 1000

const OPEN: readonly Order['status'][] = ['processing', 'packed', 'out_for_delivery', 'delayed']

/** Phones are compared by their digits: +254 700 000 001, 00254700000001 and 254700000001 are the same number. */
function digitsOf(phone: string): string {
  const digits = phone.replace(/\D/g, '')
  return digits.startsWith('00') ? digits.slice(2) : digits
}

/** An account as its owner may see it. */
interface AccountView extends Omit<Account, 'security'> {
  /** What is owed, 0 when nothing is. */
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
  /** Answers of earlier POSTs by their Idempotency-Key, with the request they belong to. */
  readonly #byKey = new Map<string, { readonly request: string; readonly ticket: Ticket }>()
  #lastTicket: number

  constructor(data: ShopData) {
    this.#orders = data.orders
    this.#accounts = data.accounts
    this.#outages = data.outages
    this.plans = data.plans
    this.#tickets = [...data.tickets]
    this.#lastTicket = Math.max(500, ...data.tickets.map((ticket) => Number(ticket.ticketId.replace(/\D/g, '')) || 0))
  }

  order(orderNumber: string): Order | undefined {
    return this.#orders.find((order) => order.orderNumber === orderNumber)
  }

  /** Open orders of a phone; when there are none, the delivered and cancelled ones. */
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

  /** The data with which a caller's answers are compared. */
  verification(phone: string): Pick<Account, 'accountId' | 'phone' | 'name' | 'vip' | 'security'> | undefined {
    const account = this.#accountOf(phone)
    if (account === undefined) return undefined
    const { accountId, name, vip, security } = account
    return { accountId, phone: account.phone, name, vip, security }
  }

  outage(area: string): Outage | undefined {
    return this.#outages.find((outage) => outage.area.toLowerCase() === area.trim().toLowerCase())
  }

  /** The outage that a phone's owner notices. */
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
   * @returns `conflict` when the key was used for another request
   */
  openTicket(
    key: string,
    fields: Pick<Ticket, 'phone' | 'subject' | 'details'>,
  ): { ticket: Ticket; created: boolean } | 'conflict' {
    const request = JSON.stringify([fields.phone, fields.subject, fields.details])
    const earlier = this.#byKey.get(key)
    if (earlier !== undefined) {
      return earlier.request === request ? { ticket: earlier.ticket, created: false } : 'conflict'
    }
    this.#lastTicket += 1
    const ticket: Ticket = { ticketId: `T-${this.#lastTicket}`, ...fields, status: 'open' }
    this.#tickets.push(ticket)
    this.#byKey.set(key, { request, ticket })
    if (this.#tickets.length > TICKETS_MAX) this.#tickets.shift()
    const [oldestKey] = this.#byKey.keys()
    if (this.#byKey.size > TICKETS_MAX && oldestKey !== undefined) this.#byKey.delete(oldestKey)
    return { ticket, created: true }
  }
}
