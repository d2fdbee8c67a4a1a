-- A gateway of before the ledger that still runs does not say whether a call was charged to the balance; neither do
-- settlements that it left in Redis. As with usage of before: an organisation that was ever granted credits is taken to
-- have paid by balance.
ALTER TABLE usage_events ALTER COLUMN from_balance DROP DEFAULT;

CREATE FUNCTION usage_by_balance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.from_balance := EXISTS (SELECT FROM ledger_grants WHERE org_id = NEW.org_id);
    RETURN NEW;
END
$$;

CREATE TRIGGER usage_events_balance BEFORE INSERT ON usage_events
    FOR EACH ROW WHEN (NEW.from_balance IS NULL) EXECUTE FUNCTION usage_by_balance();
