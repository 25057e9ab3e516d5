import assert from 'node:assert/strict'
import { ProcessNode, until } from '../support/process-node.ts'
import type { ScannedPart } from '../support/scan.ts'

const KEYS = 2000
const MANY = 50_000
const ALL = Array.from({ length: KEYS }, (_, i) => `key-${String(i).padStart(5, '0')}`)

describe('a scan over real processes', () => {
  let nodes: ProcessNode[] = []
  afterEach(async () => {
    await Promise.all(nodes.map(node => node.kill()))
    nodes = []
  })

  /** Goes on from one process to the next until the end; `step` may change which there are. */
  async function tour(reverse: boolean, step: (part: number) => Promise<unknown>): Promise<string[]> {
    const keys: string[] = []
    let token: string | undefined
    for (let part = 0; ; part++) {
      await step(part)
      const node = nodes[part % nodes.length]!
      const after = token === undefined ? {} : { after: token }
      const scanned = (await node.call('scan', { reverse, pageSize: 200, ...after }, 250)) as ScannedPart
      keys.push(...scanned.keys)
      token = scanned.token
      if (scanned.isDone) return keys
    }
  }

  it('is complete and in order while a node joins and another is killed, and goes on where that one was', async () => {
    const first = await ProcessNode.start()
    nodes = [
      first,
      ...(await Promise.all([1, 2].map(() => ProcessNode.start({ bootstrap: first.addresses, warmUpMs: 0 }))))
    ]
    await Promise.all(nodes.map(node => node.settled()))
    for (let i = 0; i < KEYS; i += 1000) {
      const batch = ALL.slice(i, i + 1000).map(key => ({ type: 'put', key, value: 1 }))
      await first.call('batch', batch)
    }
    const joining = ProcessNode.start({ bootstrap: nodes[1]!.addresses, warmUpMs: 0 })
    // One scan stays where it began; the other one is on the node that dies when it dies.
    const staying = nodes[1]!.call('scan', { pageSize: 100 }, KEYS + 1) as Promise<ScannedPart>
    const keys = await tour(false, async part => {
      if (part === 2) nodes.push(await joining)
      if (part === 4) await nodes.shift()!.kill()
    })
    assert.deepEqual(keys, ALL)
    assert.deepEqual((await staying).keys, ALL)
    assert.deepEqual(await tour(true, async () => {}), ALL.toReversed())
  }).timeout(60_000)

  it('returns 50,000 keys, each once and in order, while a node joins and takes its share, and another is killed', async () => {
    const keys = Array.from({ length: MANY }, (_, i) => `key-${String(i).padStart(5, '0')}`)
    const first = await ProcessNode.start()
    nodes = [
      first,
      ...(await Promise.all([1, 2].map(() => ProcessNode.start({ bootstrap: first.addresses, warmUpMs: 0 }))))
    ]
    await Promise.all(nodes.map(node => node.settled()))
    for (let i = 0; i < MANY; i += 5000) {
      const batch = keys.slice(i, i + 5000).map(key => ({ type: 'put', key, value: i }))
      await first.call('batch', batch)
    }
    const { epoch } = await nodes[1]!.status()
    const found: string[] = []
    const failures: string[] = []
    let isDone = false
    const scanOn = async (most: number): Promise<void> => {
      const part = (await nodes[1]!.call('scanOn', { timeoutMs: 30_000 }, most)) as ScannedPart
      found.push(...part.keys)
      failures.push(...(part.failure === undefined ? [] : [part.failure]))
      isDone = part.isDone
    }
    await scanOn(MANY / 5)
    const joining = ProcessNode.start({ bootstrap: nodes[1]!.addresses, warmUpMs: 0 })
    await scanOn(MANY / 5)
    nodes.push(await joining)
    // Some of the rows have moved to it when the scan goes on.
    await until('rows move', 20_000, async () => (await nodes[1]!.status()).epoch > epoch + 2)
    await scanOn(MANY / 5)
    await nodes[2]!.kill()
    await scanOn(MANY)
    assert.deepEqual([isDone, failures], [true, []])
    assert.deepEqual(found, keys)
  }).timeout(120_000)
})
