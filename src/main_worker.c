/* Entry point of the lintel-worker executable. */
int main(void)
{
    return 0;
}
