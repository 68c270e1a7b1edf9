/**
 * Invented accounts, by their owner's phone. In production your own system has the accounts, and compares the PIN
 * itself.
 */
const ACCOUNTS = {
  '+254700000001': { account: '620517', pin: '4831', balance: 7300 },
  '+254700000002': { account: '184205', pin: '9076', balance: 1250 },
}

// The caller's number determines the account. Neither the caller nor the model can choose it.
const bind = { phone: '{{call.from}}' }
const phone = { type: 'string' }

export const findAccount = {
  name: 'find_account',
  description: 'Whether the caller has this account. It fails where they have not.',
  parameters: {
    properties: {
      account: { type: 'string', pattern: '^\\d{4,8}$', description: 'As collect_digits gave it.' },
      phone,
    },
    required: ['account', 'phone'],
  },
  bind,
  idempotent: true,
  sample: { account: '620517' },
  run: (args) => {
    if (ACCOUNTS[args.phone]?.account !== args.account) throw new Error('another account')
    return { found: true }
  },
}

export const checkPin = {
  name: 'check_pin',
  description: 'Whether the PIN is right, and the balance then. The gateway calls it with the keys.',
  parameters: { properties: { pin: { type: 'string' }, phone }, required: ['pin', 'phone'] },
  bind,
  run: (args) => {
    const found = ACCOUNTS[args.phone]
    return found?.pin === args.pin ? { right: true, balance: found.balance } : { right: false }
  },
}
