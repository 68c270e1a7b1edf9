/**
 * Module that piscina loads for a speech worker, as `workers/worker/start-call-worker.ts` for a media worker. Piscina tries
 * `require` first, which would load all modules of the worker in one piece; Node 20 aborts the whole process where a stop ends
 * the worker meanwhile. `require` gives up at an `await`, here before anything is loaded, and then piscina imports this.
 */
export default (await import('./speech-worker.js')).default
