import type { KnownOrders } from './agent-vocabulary.js'

/** An order as the shop's API gives it; see examples/shop-api. */
export interface ShopOrder {
  readonly orderNumber: string
  readonly status: string
  readonly eta: string | null
  readonly courier: string | null
  readonly reason: string | null
}

const TIMEOUT_MS = 3000

/**
 * What the shop would answer about this caller's orders and the number they ask for. Empty when it cannot be reached:
 * nothing is expected of the agent then.
 */
export async function ordersInShop(shopUrl: string, order: string | null, phone: string): Promise<ShopOrder[]> {
  const found: ShopOrder[] = []
  if (order !== null) found.push(...ordersOf(await ask(`${shopUrl}/api/orders?order_number=${order}`)))
  found.push(...ordersOf(await ask(`${shopUrl}/api/orders?phone=${encodeURIComponent(phone)}`)))
  return found.filter((one, index) => found.findIndex((other) => other.orderNumber === one.orderNumber) === index)
}

/** What an ear needs to know of these orders. */
export function knownOrders(orders: readonly ShopOrder[], order: string | null): KnownOrders {
  const numbers = orders.map((one) => one.orderNumber)
  return {
    orders: order === null || numbers.includes(order) ? numbers : [order, ...numbers],
    etas: orders.flatMap((one) => one.eta ?? []),
    others: orders.flatMap((one) => [one.courier, one.reason].filter((text) => text !== null)),
  }
}

async function ask(url: string): Promise<unknown> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS) })
    return response.ok ? await response.json() : null
  } catch {
    // No shop, no expectation; the gateway will tell its own caller that the look-up failed.
    return null
  }
}

function ordersOf(body: unknown): ShopOrder[] {
  if (typeof body !== 'object' || body === null) return []
  const { orders } = body as { orders?: unknown }
  const list: unknown[] = Array.isArray(orders) ? orders : [body]
  return list.flatMap((item) => {
    const order = item as Partial<Record<keyof ShopOrder, unknown>>
    if (typeof order.orderNumber !== 'string' || typeof order.status !== 'string') return []
    const textOf = (value: unknown): string | null => (typeof value === 'string' ? value : null)
    return [{ orderNumber: order.orderNumber, status: order.status, eta: textOf(order.eta), courier: textOf(order.courier), reason: textOf(order.reason) }]
  })
}
