import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import fastifyCookie from '@fastify/cookie'
import fastifySession from '@fastify/session'
import express from 'express'
import expressSession from 'express-session'
import Fastify, { type FastifyRequest, type Session } from 'fastify'
import { isKilovoltError, type Node } from 'kilovolt'
import { createSessionStore, type SessionKeyspace } from 'kilovolt/session'
import { NodeLab } from '../support/node-lab.ts'
import { until } from '../support/process-node.ts'

declare module 'express-session' {
  interface SessionData {
    visits: number
  }
}
declare module 'fastify' {
  interface Session {
    visits?: number
  }
}

const SECRET = 'a secret of thirty-two characters'

/** A server of an app: what it answers is how often a visitor came, and where it is. */
interface Server {
  readonly url: string
  close(): Promise<unknown>
}

async function serveExpress(node: Node, maxAge: number | undefined): Promise<Server> {
  const keyspace = node.keyspace<expressSession.SessionData>('sessions')
  const store = createSessionStore(keyspace, { Store: expressSession.Store })
  const app = express()
  const cookie = maxAge === undefined ? {} : { maxAge }
  app.use(expressSession({ store, secret: SECRET, resave: false, saveUninitialized: false, rolling: true, cookie }))
  app.get('/visit', (request, response) => {
    request.session.visits = (request.session.visits ?? 0) + 1
    response.send(String(request.session.visits))
  })
  app.get('/look', (request, response) => {
    response.send(String(request.session.visits ?? 0))
  })
  app.get('/anew', (request, response, next) => {
    request.session.regenerate(error => (error ? next(error) : response.send('anew')))
  })
  app.get('/leave', (request, response, next) => {
    request.session.destroy(error => (error ? next(error) : response.send('left')))
  })
  const server = createServer((request, response) => void app(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => new Promise(resolve => server.close(resolve).closeAllConnections())
  }
}

async function serveFastify(node: Node, maxAge: number | undefined): Promise<Server> {
  const fastify = Fastify()
  const cookie = { secure: false, ...(maxAge !== undefined && { maxAge }) }
  const store = createSessionStore(node.keyspace<Session>('sessions'))
  await fastify.register(fastifyCookie)
  await fastify.register(fastifySession, {
    store,
    secret: SECRET,
    saveUninitialized: false,
    rolling: true,
    cookie
  })
  const answer = (url: string, handler: (request: FastifyRequest) => Promise<string>): unknown =>
    fastify.route({ method: 'GET', url, handler })
  answer('/visit', async request => {
    request.session.visits = (request.session.visits ?? 0) + 1
    return String(request.session.visits)
  })
  answer('/look', async request => String(request.session.visits ?? 0))
  answer('/anew', async request => {
    await request.session.regenerate()
    return 'anew'
  })
  answer('/leave', async request => {
    await request.session.destroy()
    return 'left'
  })
  const url = await fastify.listen({ port: 0, host: '127.0.0.1' })
  return { url, close: () => fastify.close() }
}

/** What keeps the cookie, as a browser does. */
class Visitor {
  #cookie = ''

  /** Somebody with the same cookie. */
  twin(): Visitor {
    const twin = new Visitor()
    twin.#cookie = this.#cookie
    return twin
  }

  async go(server: Server, path: string): Promise<string> {
    const response = await fetch(`${server.url}/${path}`, { headers: { cookie: this.#cookie } })
    const text = await response.text()
    assert.equal(response.status, 200, text)
    const set = response.headers.get('set-cookie')
    if (set !== null) this.#cookie = set.split(';')[0]!
    return text
  }
}

describe('sessions on two nodes', () => {
  const lab = new NodeLab()
  let nodes: readonly [Node, Node]
  let servers: Server[] = []

  before(async () => {
    const first = await lab.start()
    nodes = [first, await lab.start({ bootstrap: first.addresses })]
    await nodes[1].settled({ timeoutMs: 20_000 })
  })

  afterEach(async () => {
    for (const server of servers) await server.close()
    servers = []
  })

  after(() => lab.clear())

  for (const [name, serve] of [
    ['express-session', serveExpress],
    ['@fastify/session', serveFastify]
  ] as const) {
    const start = async (maxAge?: number): Promise<readonly [Server, Server]> => {
      const pair = [await serve(nodes[0], maxAge), await serve(nodes[1], maxAge)] as const
      servers = [...pair]
      return pair
    }

    it(`of ${name} are there on the other server, and of nobody else`, async () => {
      const [a, b] = await start()
      const [ada, bob] = [new Visitor(), new Visitor()]
      assert.deepEqual([await ada.go(a, 'visit'), await ada.go(b, 'visit'), await ada.go(a, 'visit')], ['1', '2', '3'])
      assert.equal(await bob.go(b, 'visit'), '1')
      assert.equal(await ada.go(b, 'look'), '3')
    })

    it(`of ${name} are gone everywhere when they are destroyed, or begun anew`, async () => {
      const [a, b] = await start(60_000)
      for (const path of ['leave', 'anew']) {
        const ada = new Visitor()
        assert.equal(await ada.go(a, 'visit'), '1')
        const copy = ada.twin()
        await ada.go(b, path)
        assert.equal(await copy.go(a, 'look'), '0')
        assert.equal(await ada.go(a, 'look'), '0')
      }
    })

    it(`of ${name} end with their cookie, which each visit puts off`, async () => {
      const maxAge = 1200
      const [a, b] = await start(maxAge)
      const [ada, bob] = [new Visitor(), new Visitor()]
      await bob.go(a, 'visit')
      await ada.go(a, 'visit')
      const begun = performance.now()
      for (let last = begun; last - begun < maxAge * 1.5;) {
        const visitedAt = performance.now()
        const seen = await ada.go(b, 'look')
        // On a machine that stands still for so long it has ended as it should.
        if (seen !== '1') assert.ok(performance.now() - last >= maxAge, 'it has ended early')
        last = visitedAt
      }
      // Bob has not come back in time.
      assert.equal(await bob.go(b, 'look'), '0')
    })
  }
})

describe('all sessions of two nodes', () => {
  const lab = new NodeLab()
  after(() => lab.clear())

  it('are listed, counted and cleared on either, as the store of express-session in memory does', async () => {
    const first = await lab.start({ warmUpMs: 0 })
    const second = await lab.start({ bootstrap: first.addresses, warmUpMs: 0 })
    await second.settled({ timeoutMs: 20_000 })
    const stores = [first, second].map(node =>
      createSessionStore(node.keyspace<expressSession.SessionData>('all'), { Store: expressSession.Store })
    )
    const [a, b] = stores as [(typeof stores)[number], (typeof stores)[number]]
    const memory = new expressSession.MemoryStore()
    const session = (visits: number, ms: number): expressSession.SessionData => {
      const expires = new Date(Date.now() + ms)
      return JSON.parse(
        JSON.stringify({ cookie: { expires, originalMaxAge: ms }, visits })
      ) as expressSession.SessionData
    }
    const put = {
      s1: session(1, 60_000),
      s2: session(2, 60_000),
      ['__proto__']: session(3, 60_000),
      ended: session(4, -1)
    }
    for (const [i, [id, given]] of Object.entries(put).entries()) {
      await stores[i % 2]!.set(id, given)
      memory.set(id, given)
    }
    await a.destroy('s2')
    memory.destroy('s2')
    for (const store of stores) {
      const expected = await new Promise((resolve, reject) =>
        memory.all((error, all) => (error ? reject(error) : resolve(all)))
      )
      assert.deepEqual(await store.all(), expected)
      assert.deepEqual(Object.keys(await store.all()).toSorted(), ['__proto__', 's1'])
      assert.equal(Object.getPrototypeOf(await store.all()), null)
      assert.equal(await store.length(), 2)
      // By callback, as its types have it.
      const base: expressSession.Store = store
      assert.deepEqual(await new Promise(resolve => base.all!((...answer) => resolve(answer))), [null, expected])
      assert.deepEqual(await new Promise(resolve => base.length!((...answer) => resolve(answer))), [null, 2])
    }
    assert.deepEqual(await new Promise(resolve => b.clear((...answer: unknown[]) => resolve(answer))), [
      null,
      undefined
    ])
    assert.deepEqual({ ...(await a.all()) }, {})
    assert.equal(await b.length(), 0)
    await a.clear()
    await first.stop()
    for (const method of ['all', 'length', 'clear'] as const) {
      const told = new Promise(resolve => void a[method]((...answer: unknown[]) => resolve(answer[0])))
      assert.ok(isKilovoltError(await told, 'KV_NODE_STOPPED'), method)
    }
  }).timeout(30_000)
})

describe('a session store', () => {
  /** A keyspace that says what was asked of it. */
  function recorder(): { readonly calls: unknown[][]; readonly keyspace: SessionKeyspace<object> } {
    const calls: unknown[][] = []
    const told =
      <T>(name: string, result: T) =>
      async (...given: unknown[]): Promise<T> => {
        calls.push([name, ...given])
        return result
      }
    const keyspace = {
      get: told('get', undefined),
      put: told('put', undefined),
      touch: told('touch', true),
      delete: told('delete', true),
      entries: () => assert.fail(),
      count: told('count', 0),
      clear: told('clear', 0)
    }
    return { calls, keyspace }
  }

  it('takes the time to live from the cookie, or that of the options', async () => {
    const { calls, keyspace } = recorder()
    const store = createSessionStore(keyspace, { ttl: 5000 })
    const endsAt = Date.now() + 60_000
    for (const expires of [new Date(endsAt), new Date(endsAt).toISOString()]) {
      await store.set('a', { cookie: { expires } })
      const { ttl } = calls.pop()![3] as { ttl: number }
      assert.ok(ttl > 50_000 && ttl <= 60_001, String(ttl))
    }
    for (const session of [{}, { cookie: {} }, { cookie: { expires: null } }, { cookie: { expires: 'never' } }]) {
      await store.set('a', session)
      assert.deepEqual(calls.pop(), ['put', 'a', JSON.parse(JSON.stringify(session)), { ttl: 5000 }])
      await store.touch('a', session)
      assert.deepEqual(calls.pop(), ['touch', 'a', 5000])
    }
    for (const method of ['set', 'touch'] as const) {
      await store[method]('a', { cookie: { expires: new Date(0) } })
      assert.deepEqual(calls.pop(), ['delete', 'a'])
    }
    // What is longer than a keyspace can tell is for ever, as with the other faces.
    for (const [store, session] of [
      [createSessionStore(keyspace, { ttl: Number.MAX_SAFE_INTEGER }), {}],
      [createSessionStore(keyspace), { cookie: { expires: new Date(8.64e15) } }]
    ] as const) {
      await store.touch('a', session)
      assert.deepEqual(calls.pop(), ['touch', 'a', Infinity])
    }
  })

  it('refuses options that make no sense or that nobody knows', () => {
    const { keyspace } = recorder()
    for (const ttl of [0, -1, 1.5, Number.NaN, 5n, '60000', null]) {
      assert.throws(
        () => createSessionStore(keyspace, { ttl: ttl as number }),
        (error: unknown) => isKilovoltError(error, 'KV_CONFIG') && error.message.includes('"ttl"')
      )
    }
    assert.throws(
      () => createSessionStore(keyspace, { store: EventEmitter } as object),
      (error: unknown) => isKilovoltError(error, 'KV_CONFIG') && error.message.includes('did you mean "Store"')
    )
  })

  it('answers by callback or by promise, and passes on what went wrong, once', async () => {
    const { keyspace } = recorder()
    const store = createSessionStore(keyspace)
    assert.equal(await store.get('a'), null)
    const answers: unknown[][] = []
    const heard = (): Promise<unknown> => until('it is told', 5000, () => answers.length > 0)
    const tell = (...answer: unknown[]): void => void answers.push(answer)
    store.get('a', tell)
    await heard()
    assert.deepEqual(answers.splice(0), [[null, null]])
    for (const method of ['set', 'touch'] as const) {
      store[method]('a', {}, tell)
      await heard()
      assert.deepEqual(answers.splice(0), [[null, undefined]])
    }
    store.destroy('a', tell)
    await heard()
    assert.deepEqual(answers.splice(0), [[null, undefined]])
    const failure = new Error('no quorum')
    const failing = createSessionStore({ ...keyspace, get: () => Promise.reject(failure) })
    failing.get('a', tell)
    await heard()
    assert.deepEqual(answers.splice(0), [[failure]])
    await assert.rejects(failing.get('a'), failure)
    const circle: { self?: object } = {}
    circle.self = circle
    store.set('a', circle, tell)
    await heard()
    assert.ok(answers.splice(0)[0]![0] instanceof TypeError)
  })

  it('fails nobody who does not wait: a route that says farewell goes on when the keyspace does not answer', async () => {
    const { keyspace } = recorder()
    const failure = new Error('no quorum')
    const failing = { ...keyspace, delete: () => Promise.reject(failure) }
    const store = createSessionStore(failing, { Store: expressSession.Store })
    const app = express()
    app.use(expressSession({ store, secret: SECRET, resave: false, saveUninitialized: false }))
    app.get('/leave', (request, response) => {
      // As much as its types ask for a callback, it needs none.
      request.session.destroy(undefined as never)
      response.send('left')
    })
    const server = createServer((request, response) => void app(request, response)).listen(0, '127.0.0.1')
    await once(server, 'listening')
    // A rejection that nobody handles is told after the turn, and would end the process.
    const unhandled: unknown[] = []
    const before = process.listeners('unhandledRejection')
    process.removeAllListeners('unhandledRejection').on('unhandledRejection', error => void unhandled.push(error))
    try {
      const { port } = server.address() as AddressInfo
      const response = await fetch(`http://127.0.0.1:${port}/leave`)
      assert.equal(await response.text(), 'left')
      await new Promise(resolve => setImmediate(resolve))
      assert.deepEqual(unhandled, [])
    } finally {
      process.removeAllListeners('unhandledRejection')
      for (const listener of before) process.on('unhandledRejection', listener)
      await new Promise(resolve => server.close(resolve).closeAllConnections())
    }
    await assert.rejects(store.destroy('a'), failure)
  })

  it('tells of misuse as it tells of all that went wrong', async () => {
    const { keyspace } = recorder()
    const store = createSessionStore(keyspace)
    const nothing = undefined as unknown as object
    for (const method of ['set', 'touch'] as const) {
      const answer = await new Promise(resolve => store[method]('a', nothing, resolve))
      assert.ok(answer instanceof TypeError, method)
      await assert.rejects(store[method]('a', nothing), TypeError)
    }
  })
})
