import assert from 'node:assert/strict'
import { ClassicLevel } from 'classic-level'
import { createNode, type Node, type NodeOptions } from 'kilovolt'
import { metaKey } from '../../src/storage/key-layout.ts'
import { freePort } from '../support/free-port.ts'
import { NodeLab, quiet } from '../support/node-lab.ts'

const KEYS = Array.from({ length: 20 }, (_, i) => `key-${i}`)

describe('a store that is opened with other settings than its cluster has', () => {
  const lab = new NodeLab()

  afterEach(() => lab.clear())

  async function refused(options: NodeOptions, message: RegExp): Promise<void> {
    await assert.rejects(
      createNode({ logger: quiet, ...options }).then(node => node.stop()),
      { code: 'KV_CONFIG', message }
    )
  }

  it('is refused with another number of partitions or another name, and stays as it was', async () => {
    const folder = lab.folder()
    const open = (options: NodeOptions = {}): NodeOptions => ({ storage: new ClassicLevel(folder), ...options })
    const node = await lab.start(open({ cluster: 'shop' }))
    for (const key of KEYS) await node.put(key, key)
    await node.stop()
    await refused(open({ cluster: 'shop', partitions: 64 }), /256 partitions.*"partitions" is 64/u)
    await refused(open({ cluster: 'shoq' }), /"shop".*"shoq"/u)
    await refused(open(), /"shop".*"kilovolt"/u)
    const again = await lab.start(open({ cluster: 'shop' }))
    assert.deepEqual(await again.getMany(KEYS), KEYS)
    assert.equal(again.status().storage.openedClean, true, 'nothing was written')
  })

  it('is refused by its log when its node was killed before it had noted the state of its cluster', async () => {
    const folder = lab.folder()
    const node = await lab.start({ storage: new ClassicLevel(folder) })
    await node.stop()
    const database = new ClassicLevel<Uint8Array, Uint8Array>(folder, { keyEncoding: 'view', valueEncoding: 'view' })
    const noted = metaKey(Uint8Array.of(0))
    assert.ok((await database.get(noted)) !== undefined)
    await database.del(noted)
    await database.close()
    await refused({ storage: new ClassicLevel(folder), partitions: 64 }, /256 partitions/u)
    await lab.start({ storage: new ClassicLevel(folder) })
  })

  it('is refused at once as a member of several, whether the others are there or not', async () => {
    const ports = await Promise.all([freePort(), freePort(), freePort()])
    const bootstrap = ports.map(port => `/ip4/127.0.0.1/tcp/${port}`)
    const folders = ports.map(() => lab.folder())
    const options = (i: number): NodeOptions => ({
      bootstrap,
      listen: [bootstrap[i]!],
      storage: new ClassicLevel(folders[i]!)
    })
    const nodes = await Promise.all(folders.map((_, i): Promise<Node> => lab.start(options(i))))
    await nodes[0]!.settled()
    await nodes[2]!.stop()
    await refused({ ...options(2), partitions: 64 }, /256 partitions/u)
    await refused({ ...options(2), cluster: 'other' }, /"kilovolt".*"other"/u)
    await Promise.all(nodes.map(node => node.stop()))
    await Promise.all(
      folders.map((_, i) => refused({ ...options(i), partitions: 64, cluster: 'other' }, /"other".*64/u))
    )
  })

  it('is accepted while it is in no cluster yet', async () => {
    const folder = lab.folder()
    const founder = await lab.start({ cluster: 'shop' })
    const options = { bootstrap: founder.addresses, joinTimeoutMs: 4000 }
    for (const wrong of [{ cluster: 'shoq' }, { cluster: 'shop', partitions: 64 }]) {
      const joining = createNode({ ...options, ...wrong, logger: quiet, storage: new ClassicLevel(folder) })
      await assert.rejects(joining, { code: 'KV_HANDSHAKE' })
    }
    const node = await lab.start({ ...options, cluster: 'shop', storage: new ClassicLevel(folder) })
    assert.equal(node.members().length, 2)
  })
})
