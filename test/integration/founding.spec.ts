import assert from 'node:assert/strict'
import { ClassicLevel } from 'classic-level'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { createNode, isKilovoltError, type Node } from 'kilovolt'
import { NodeLab, quiet } from '../support/node-lab.ts'
import { until } from '../support/process-node.ts'

const lab = new NodeLab()

/** Addresses on ports that were free a moment ago. */
async function freeAddresses(count: number): Promise<string[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map(server => once(server, 'listening')))
  const addresses = servers.map(server => `/ip4/127.0.0.1/tcp/${(server.address() as { port: number }).port}`)
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))))
  return addresses
}

describe('founding over real links', () => {
  afterEach(() => lab.clear())

  it('makes one cluster of three nodes that start at once with one list that names them all', async () => {
    const bootstrap = await freeAddresses(3)
    const copies: unknown[] = []
    const start = async (address: string): Promise<Node> => {
      const node = await lab.start({ listen: [address], bootstrap })
      // The founder is a cluster of one before it lets in the others of whom it knows.
      await node.settled({ timeoutMs: 20_000 })
      copies.push([node.ring.owners('a').length, node.status().partitions.underReplicated])
      return node
    }
    const three = await Promise.all(bootstrap.map(start))
    assert.deepEqual(copies, [
      [3, 0],
      [3, 0],
      [3, 0]
    ])
    for (const node of three) assert.equal(node.members().filter(({ membership }) => membership === 'up').length, 3)
    await three[0]!.put('a', 1, { consistency: 'all' })
    assert.equal(await three[2]!.get('a'), 1)
  }).timeout(40_000)

  it('does not found with a minority of the list, and says so when its time is up', async () => {
    const bootstrap = await freeAddresses(3)
    const lonely = { listen: [bootstrap[0]!], bootstrap, joinTimeoutMs: 4000, logger: quiet }
    await assert.rejects(createNode(lonely), error => isKilovoltError(error, 'KV_BOOTSTRAP_UNREACHABLE'))
  }).timeout(20_000)

  it('tells a node that meets only others without a cluster that it was not let in', async () => {
    const [address] = (await freeAddresses(1)) as [string]
    const options = { joinTimeoutMs: 3000, logger: quiet }
    const results = await Promise.allSettled([
      createNode({ ...options, listen: [address], expect: 5 }),
      createNode({ ...options, bootstrap: [address] })
    ])
    for (const result of results) {
      assert.equal(result.status, 'rejected')
      assert.ok(isKilovoltError(result.reason, 'KV_JOIN_TIMEOUT'), String(result.reason))
    }
  }).timeout(20_000)

  it('survives the leaving of its founder', async () => {
    const founder = await lab.start({ replicas: 2 })
    const second = await lab.start({ bootstrap: founder.addresses })
    const third = await lab.start({ bootstrap: founder.addresses })
    await third.settled({ timeoutMs: 20_000 })
    await founder.batch(Array.from({ length: 200 }, (_, i) => ({ type: 'put', key: `k${i}`, value: i })))
    await founder.leave({ timeoutMs: 20_000 })
    const keys = Array.from({ length: 200 }, (_, i) => `k${i}`)
    assert.deepEqual(
      await second.getMany(keys),
      keys.map((_, i) => i)
    )
    await third.put('after', true)
    assert.equal(await second.get('after'), true)
    const fourth = await lab.start({ bootstrap: second.addresses })
    await until('the fourth takes its part', 15_000, () => (fourth.status().partitions.owned > 0 ? true : undefined))
  }).timeout(60_000)

  it('takes back a member that restarts on its disk, without copying anything anew', async () => {
    const folder = lab.folder()
    const first = await lab.start({})
    const second = await lab.start({ bootstrap: first.addresses })
    const disk = await lab.start({ bootstrap: first.addresses, storage: new ClassicLevel(folder) })
    await disk.settled({ timeoutMs: 20_000 })
    await first.put('before', 1, { consistency: 'all' })
    const { id } = disk
    await disk.stop()
    await first.put('while away', 2)
    const back = await lab.start({ bootstrap: first.addresses, storage: new ClassicLevel(folder) })
    assert.equal(back.id, id)
    await until(
      'all three are there again',
      15_000,
      () =>
        [first, second, back].every(node => node.members().filter(({ status }) => status === 'alive').length === 3) ||
        undefined
    )
    assert.deepEqual(await back.getMany(['before', 'while away']), [1, 2])
    assert.equal(back.status().transfer.recordsCopied, 0)
  }).timeout(60_000)
})
