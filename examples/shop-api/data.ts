/** Status of an order, in the words of the shop's own system. */
type OrderStatus = 'processing' | 'packed' | 'out_for_delivery' | 'delivered' | 'delayed' | 'cancelled'

export interface Order {
  readonly orderNumber: string
  /** E.164 number of the customer. */
  readonly phone: string
  readonly status: OrderStatus
  /** Time of the arrival, in words; null if it is unknown. */
  readonly eta: string | null
  readonly courier: string | null
  readonly items: readonly string[]
  /** Reason why the order is late or cancelled. */
  readonly reason?: string
}

export interface Account {
  readonly accountId: string
  readonly phone: string
  readonly name: string
  readonly plan: string
  /** Kenyan shillings; negative if the customer owes an amount. */
  readonly balanceKes: number
  readonly status: 'active' | 'suspended'
  /** True if the caller gets a human at once. */
  readonly vip: boolean
  /** Language that the customer prefers; absent if it is unknown. */
  readonly language?: 'en' | 'sw'
  /** Answers with which a caller is verified. Only `/api/accounts/verification` returns them. */
  readonly security: { readonly birthDate: string; readonly idNumber: string; readonly customerNumber: string }
  readonly area: string
}

/** Plan of a customer, with its price. */
export interface Plan {
  readonly name: string
  readonly speedMbps: number
  readonly priceKes: number
}

/** Product of the shop, or the charge for its delivery. */
export interface Product {
  readonly name: string
  /** Other words that callers use for it. */
  readonly also: readonly string[]
  /** Kenyan shillings; null if no price is set. */
  readonly priceKes: number | null
}

/** Outage for all customers in an area. */
export interface Outage {
  readonly area: string
  /** Time in words. */
  readonly since: string
  readonly restoredBy: string
}

export interface Ticket {
  readonly ticketId: string
  readonly phone: string
  readonly subject: string
  readonly details: string
  readonly status: 'open' | 'closed'
}

/** All data of the demo shop at its start. */
export interface ShopData {
  readonly orders: readonly Order[]
  readonly accounts: readonly Account[]
  readonly tickets: readonly Ticket[]
  readonly plans: readonly Plan[]
  readonly outages: readonly Outage[]
  readonly products: readonly Product[]
}

/** Customer with exactly one open order, 4127. */
const ONE_ORDER = '+254700000001'
/** Has several open orders. */
const MANY_ORDERS = '+254700000002'
/** Customer with one order, which was delivered. */
const ONLY_DELIVERED = '+254700000003'
// Customer without orders (+254700000009), who is only in the accounts.

/** Invented people, with numbers of a range that is not in use. */
export const DEMO_DATA: ShopData = {
  orders: [
    {
      orderNumber: '4127',
      phone: ONE_ORDER,
      status: 'out_for_delivery',
      eta: 'today between 4 and 6 PM',
      courier: 'PikiPiki',
      items: ['rice cooker'],
    },
    {
      orderNumber: '2968',
      phone: ONE_ORDER,
      status: 'delivered',
      eta: 'last Friday at 11 AM',
      courier: 'Sendy Riders',
      items: ['desk lamp'],
    },
    {
      orderNumber: '3056',
      phone: MANY_ORDERS,
      status: 'processing',
      eta: 'in three days',
      courier: null,
      items: ['running shoes'],
    },
    {
      orderNumber: '8214',
      phone: MANY_ORDERS,
      status: 'packed',
      eta: 'tomorrow before noon',
      courier: 'Boda Express',
      items: ['phone charger', 'phone cover'],
    },
    {
      orderNumber: '6403',
      phone: MANY_ORDERS,
      status: 'out_for_delivery',
      eta: 'today before 2 PM',
      courier: 'PikiPiki',
      items: ['school bag'],
    },
    {
      orderNumber: '1792',
      phone: ONLY_DELIVERED,
      status: 'delivered',
      eta: 'yesterday at 3 PM',
      courier: 'Boda Express',
      items: ['water bottle'],
    },
    {
      orderNumber: '7381',
      phone: '+254700000004',
      status: 'delayed',
      eta: 'on Thursday',
      courier: 'Sendy Riders',
      items: ['bookshelf'],
      reason: 'the road is flooded',
    },
    {
      orderNumber: '9640',
      phone: '+254700000005',
      status: 'cancelled',
      eta: null,
      courier: null,
      items: ['kettle'],
      reason: 'it was out of stock, and the money has been returned',
    },
    {
      orderNumber: '2835',
      phone: '+254700000006',
      status: 'processing',
      eta: 'on Monday',
      courier: null,
      items: ['curtains', 'curtain rail'],
    },
    {
      orderNumber: '6178',
      phone: '+254700000007',
      status: 'packed',
      eta: 'tomorrow afternoon',
      courier: 'PikiPiki',
      items: ['baby blanket'],
    },
    {
      orderNumber: '4302',
      phone: '+254700000008',
      status: 'out_for_delivery',
      eta: 'today before 8 PM',
      courier: 'Boda Express',
      items: ['garden hose'],
    },
  ],
  accounts: [
    {
      accountId: 'AC-1001',
      phone: ONE_ORDER,
      name: 'Amina Odhiambo',
      plan: 'Home 20',
      balanceKes: 350,
      status: 'active',
      vip: false,
      area: 'Lavington',
      security: { birthDate: '1988-04-17', idNumber: '23917386', customerNumber: '40075291' },
    },
    {
      accountId: 'AC-1002',
      phone: MANY_ORDERS,
      name: 'Brian Mwangi',
      language: 'sw',
      plan: 'Home 50',
      balanceKes: -1200,
      status: 'suspended',
      vip: false,
      area: 'Westlands',
      security: { birthDate: '1979-11-30', idNumber: '11846273', customerNumber: '40064837' },
    },
    {
      accountId: 'AC-1003',
      phone: ONLY_DELIVERED,
      name: 'Cynthia Wanjiru',
      plan: 'Home 10',
      balanceKes: 0,
      status: 'active',
      vip: false,
      area: 'Kilimani',
      security: { birthDate: '1995-06-08', idNumber: '34026837', customerNumber: '40093164' },
    },
    {
      accountId: 'AC-1009',
      phone: '+254700000009',
      name: 'Daniel Kiprono',
      plan: 'Business 100',
      balanceKes: 15_400,
      status: 'active',
      vip: true,
      area: 'Karen',
      security: { birthDate: '1968-02-23', idNumber: '10573628', customerNumber: '40018259' },
    },
    // The system has neither name nor plan for two customers. It returns texts for absence, as such systems do.
    {
      accountId: 'AC-1011',
      phone: '+254700000011',
      name: 'null',
      plan: '#N/A',
      balanceKes: 0,
      status: 'active',
      vip: false,
      area: 'Kilimani',
      security: { birthDate: '1991-09-14', idNumber: '27385910', customerNumber: '40081726' },
    },
    {
      accountId: 'AC-1012',
      phone: '+254700000012',
      name: '0700 000 012',
      language: 'sw',
      plan: 'hakuna',
      balanceKes: 0,
      status: 'active',
      vip: false,
      area: 'Westlands',
      security: { birthDate: '1983-01-05', idNumber: '19472836', customerNumber: '40037195' },
    },
  ],
  plans: [
    { name: 'Home 10', speedMbps: 10, priceKes: 1500 },
    { name: 'Home 20', speedMbps: 20, priceKes: 2500 },
    { name: 'Home 50', speedMbps: 50, priceKes: 4000 },
    { name: 'Business 100', speedMbps: 100, priceKes: 9000 },
  ],
  products: [
    { name: 'shoes', also: ['shoe', 'sneakers', 'viatu', 'kiatu', 'raba'], priceKes: 1250 },
    { name: 'bag', also: ['bags', 'school bag', 'begi', 'mkoba'], priceKes: 1800 },
    { name: 'lamp', also: ['desk lamp', 'lamps', 'taa'], priceKes: 950 },
    { name: 'rice cooker', also: ['cooker'], priceKes: 4500 },
    { name: 'kettle', also: ['birika'], priceKes: 2200 },
    { name: 'bookshelf', also: ['shelf', 'rafu'], priceKes: null },
    { name: 'delivery', also: ['delivery fee', 'kuletewa', 'kuniletea'], priceKes: 350 },
  ],
  outages: [{ area: 'Kilimani', since: 'this morning at 9', restoredBy: 'this evening at 6' }],
  tickets: [
    {
      ticketId: 'T-501',
      phone: MANY_ORDERS,
      subject: 'Slow internet in the evening',
      details: 'Reported by phone.',
      status: 'open',
    },
  ],
}
