// One process of the bench of start-up: imports kilovolt, starts a node, and uses it once.
/** What each step took, ms. */
export interface StartUp {
  readonly process: number
  readonly import: number
  readonly create: number
  readonly put: number
  readonly get: number
}

/** `performance.now` begins with the process. */
const begunMs = performance.now()
const { createNode } = await import('kilovolt')
const importedMs = performance.now()
const node = await createNode()
const createdMs = performance.now()
await node.put('key', 'value')
const putMs = performance.now()
await node.get('key')
const gotMs = performance.now()
process.send!({
  process: begunMs,
  import: importedMs - begunMs,
  create: createdMs - importedMs,
  put: putMs - createdMs,
  get: gotMs - putMs
} satisfies StartUp)
process.on('disconnect', () => process.exit())
