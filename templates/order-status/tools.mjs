/** Orders by their number. Replace this table with a request to your own system. */
const ORDERS = {
  4127: { status: 'out_for_delivery', eta: 'today between 4 and 6 PM' },
  2968: { status: 'delivered' },
  8214: { status: 'packed', eta: 'tomorrow' },
}

export const lookupOrder = {
  name: 'lookup_order',
  description: 'Finds an order by its number. {"found": false} means that there is no such order.',
  parameters: {
    properties: { orderNumber: { type: 'string', pattern: '^\\d{4}$', description: 'The four digits.' } },
    required: ['orderNumber'],
  },
  // The tool only reads, so it may run again.
  idempotent: true,
  sample: { orderNumber: '4127' },
  run: ({ orderNumber }) => ORDERS[orderNumber] ?? { found: false },
}
