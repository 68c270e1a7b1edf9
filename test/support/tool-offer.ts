import type { ToolOffer } from '../../src/call/tools/gateway-tools.js'

/** Incoming call to an agent with one language, with escalation and call backs. */
export const OFFER: ToolOffer = {
  languages: ['en'],
  handoverTo: {},
  escalation: { strategies: ['callback'] },
  sendsDigits: false,
  placed: false,
  messagesOnly: false,
  asksToGoOn: false,
  stage: null,
}
