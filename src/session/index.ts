export {
  createSessionStore,
  type SessionCallback,
  type SessionData,
  type SessionKeyspace,
  type SessionStore,
  type SessionStoreOptions
} from './session-store.ts'
