// Every pair of `pairs.test.ts` at every moment with every disturbance.
process.env['PAIRS'] = 'all'
await import('./pairs.test.js')
